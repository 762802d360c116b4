//! Writes the prepared module.  What is not changed is copied byte by byte, so every index of the original
//! means what it meant; all that is added stands behind what was there.

use crate::scan::{Init, Outcome, Scan, RESERVED};
use std::collections::BTreeMap;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, Elements, Encode, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, Instruction, Module, RawSection,
    Section, SectionId, TypeSection, ValType,
};
use wasmparser::{
    BinaryReader, BinaryReaderError, CodeSectionReader, DataKind, FunctionBody, Operator, Parser, Payload,
    ValidPayload, Validator, WasmFeatures,
};

/// What is to be changed.
#[derive(Default)]
pub struct Plan {
    /// Active data segments become empty ones.
    pub lift_data: bool,
    /// Segments that code can drop, and the global that says whether it has.
    pub data_flags: BTreeMap<u32, u32>,
    pub element_flags: BTreeMap<u32, u32>,
    /// What initialises from such segments, and the function that does it instead.
    pub helpers: BTreeMap<Init, u32>,
    /// Functions to be exported because tables that code writes to may hold them.
    pub table_functions: Vec<u32>,
    /// None is, as they were too many.
    pub table_functions_left_out: bool,
}

impl Plan {
    pub fn new(scan: &Scan, lift_data: bool) -> Plan {
        let uses = &scan.uses;
        let data = uses.data_dropped.iter().filter(|&&i| matches!(scan.data[i as usize].kind, DataKind::Passive));
        let elements = uses.elements_dropped.iter().filter(|&&i| scan.elements_passive[i as usize]);
        let first = scan.globals.len() as u32;
        let data_flags: BTreeMap<u32, u32> = data.copied().zip(first..).collect();
        let element_flags = elements.copied().zip(first + data_flags.len() as u32..).collect();
        let mut plan = Plan { lift_data, data_flags, element_flags, ..Plan::default() };
        let inits = uses.inits.iter().filter(|init| plan.flag_of(init).is_some());
        plan.helpers = inits.copied().zip(scan.functions..).collect();
        if scan.writes_own_table() {
            plan.table_functions = scan.referenced.iter().copied().collect();
        }
        plan
    }

    /// Gives false if there are none.
    pub fn leave_out_table_functions(&mut self) -> bool {
        self.table_functions_left_out = !self.table_functions.is_empty();
        self.table_functions.clear();
        self.table_functions_left_out
    }

    fn flag_of(&self, init: &Init) -> Option<u32> {
        match init {
            Init::Memory { segment, .. } => self.data_flags.get(segment).copied(),
            Init::Table { segment, .. } => self.element_flags.get(segment).copied(),
        }
    }

    pub fn flags(&self) -> usize {
        self.data_flags.len() + self.element_flags.len()
    }

    /// Of a dropped segment all that is left is that it is empty: an empty one stands for all of them.
    fn needs_empty_data(&self) -> bool {
        self.helpers.keys().any(|init| matches!(init, Init::Memory { .. }))
    }

    fn needs_empty_elements(&self) -> bool {
        self.helpers.keys().any(|init| matches!(init, Init::Table { .. }))
    }

    /// What stands in the place of `op`; None: `op` itself.
    fn replacement(&self, op: &Operator) -> Option<Vec<Instruction<'static>>> {
        let flag = match op {
            Operator::DataDrop { data_index } => self.data_flags.get(data_index),
            Operator::ElemDrop { elem_index } => self.element_flags.get(elem_index),
            _ => {
                let helper = self.helpers.get(&Init::of(op)?)?;
                return Some(vec![Instruction::Call(*helper)]);
            }
        };
        flag.map(|&flag| vec![Instruction::I32Const(1), Instruction::GlobalSet(flag)])
    }
}

pub fn write(data: &[u8], scan: &Scan, plan: &Plan) -> Outcome<Vec<u8>> {
    let mut writer = Writer { data, scan, plan, added: additions(scan, plan), module: Module::new() };
    for payload in Parser::new(0).parse_all(data) {
        writer.payload(payload?)?;
    }
    writer.added.add_missing(u8::MAX, &mut writer.module);
    Ok(writer.module.finish())
}

/// The validity of what write() made: the sections, and those bodies that are not the original's.  It can
/// only fail if the additions pass a limit that the original had reached.
pub fn check(wasm: &[u8], scan: &Scan) -> Outcome<()> {
    check_bodies(wasm, |number| number >= scan.bodies || scan.uses.bodies.contains(&number))
}

/// The validity of the sections, and of the bodies that are `changed`, by their place in the code section.
pub fn check_bodies(wasm: &[u8], changed: impl Fn(u32) -> bool) -> Outcome<()> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut number = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        if let ValidPayload::Func(function, body) = validator.payload(&payload?)? {
            if changed(number) {
                function.into_validator(Default::default()).validate(&body)?;
            }
            number += 1;
        }
    }
    Ok(())
}

struct Writer<'a> {
    data: &'a [u8],
    scan: &'a Scan<'a>,
    plan: &'a Plan,
    added: Additions,
    module: Module,
}

impl Writer<'_> {
    fn payload(&mut self, payload: Payload) -> Outcome<()> {
        let Some((id, range)) = payload.as_section() else { return Ok(()) };
        let contents = &self.data[range.clone()];
        self.added.add_missing(rank(id), &mut self.module);
        match payload {
            Payload::StartSection { .. } => {} // an export now
            Payload::DataCountSection { count, .. } => {
                let count = count + u32::from(self.plan.needs_empty_data());
                self.module.section(&DataCountSection { count });
            }
            Payload::DataSection(_) if self.plan.lift_data || self.plan.needs_empty_data() => {
                let section = self.data_section();
                self.module.section(&section);
            }
            Payload::CodeSectionStart { .. } if self.plan.flags() > 0 => {
                let section = self.code_section(BinaryReader::new(contents, range.start))?;
                self.module.section(&section);
            }
            _ => self.added.copy(id, contents, &mut self.module)?,
        }
        Ok(())
    }

    fn data_section(&self) -> DataSection {
        let mut section = DataSection::new();
        for data in &self.scan.data {
            match data.kind {
                // An empty one is what a dropped one is, and costs no code at instantiation.
                DataKind::Active { .. } if self.plan.lift_data => {
                    section.passive([]);
                }
                _ => {
                    section.raw(&self.data[data.range.clone()]);
                }
            }
        }
        if self.plan.needs_empty_data() {
            section.passive([]);
        }
        section
    }

    fn code_section(&self, reader: BinaryReader) -> Outcome<CodeSection> {
        let mut section = CodeSection::new();
        for (number, body) in (0..).zip(CodeSectionReader::new(reader)?) {
            let body = body?;
            if self.scan.uses.bodies.contains(&number) {
                section.raw(&replaced(self.data, &body, |op| Outcome::Ok(self.plan.replacement(op)))?);
            } else {
                section.raw(body.as_bytes());
            }
        }
        for init in self.plan.helpers.keys() {
            section.function(&self.helper(init));
        }
        Ok(section)
    }

    /// Initialises from the segment, or, once that was dropped, from the empty one: the same checks, the
    /// same traps.
    fn helper(&self, init: &Init) -> Function {
        let (original, empty) = match *init {
            Init::Memory { segment, memory } => (
                Instruction::MemoryInit { mem: memory, data_index: segment },
                Instruction::MemoryInit { mem: memory, data_index: self.scan.data.len() as u32 },
            ),
            Init::Table { segment, table } => (
                Instruction::TableInit { table, elem_index: segment },
                Instruction::TableInit { table, elem_index: self.scan.elements_passive.len() as u32 },
            ),
        };
        let flag = self.plan.flag_of(init).expect("only flagged segments have helpers");
        let arguments = [0, 1, 2].map(Instruction::LocalGet);
        let mut function = Function::new([]);
        let mut add = |instructions: &[Instruction]| {
            for instruction in instructions {
                function.instruction(instruction);
            }
        };
        add(&[Instruction::GlobalGet(flag), Instruction::If(BlockType::Empty)]);
        add(&arguments);
        add(&[empty, Instruction::Else]);
        add(&arguments);
        add(&[original, Instruction::End, Instruction::End]);
        function
    }
}

// --- what is added ------------------------------------------------------------------------------------

/// The body, one of `data`'s, with other instructions in the place of some, and the rest byte by byte.
pub fn replaced<E: From<BinaryReaderError>>(
    data: &[u8],
    body: &FunctionBody,
    mut replacement: impl FnMut(&Operator) -> Result<Option<Vec<Instruction<'static>>>, E>,
) -> Result<Vec<u8>, E> {
    let mut bytes = Vec::with_capacity(body.as_bytes().len());
    let mut copied = body.range().start;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (op, at) = operators.read_with_offset()?;
        let Some(instructions) = replacement(&op)? else { continue };
        bytes.extend_from_slice(&data[copied..at]);
        instructions.iter().for_each(|instruction| instruction.encode(&mut bytes));
        copied = operators.original_position();
    }
    bytes.extend_from_slice(&data[copied..body.range().end]);
    Ok(bytes)
}

/// By rank(): what is still to be added to the section of that rank.
pub struct Additions(BTreeMap<u8, Entries>);

impl Additions {
    pub fn new(all: impl IntoIterator<Item = Entries>) -> Additions {
        let some = all.into_iter().filter(|added| added.count > 0);
        Additions(some.map(|added| (rank(added.id), added)).collect())
    }

    /// Sections that the original does not have and that belong before the one of rank `next`.
    pub fn add_missing(&mut self, next: u8, module: &mut Module) {
        while let Some(entry) = self.0.first_entry().filter(|entry| *entry.key() < next) {
            let added = entry.remove();
            module.section(&RawSection { id: added.id, data: &added.alone() });
        }
    }

    /// A section of the original, with what is added to it.
    pub fn copy(&mut self, id: u8, contents: &[u8], module: &mut Module) -> Outcome<()> {
        match self.0.remove(&rank(id)) {
            Some(added) => module.section(&RawSection { id, data: &added.behind(contents)? }),
            None => module.section(&RawSection { id, data: contents }),
        };
        Ok(())
    }
}

/// Entries of a section, encoded.
pub struct Entries {
    id: u8,
    count: u32,
    bytes: Vec<u8>,
}

impl Entries {
    /// The entries of `section`, whose encoding begins with its size and their count.
    pub fn of(section: &impl Section) -> Entries {
        let mut bytes = Vec::new();
        section.encode(&mut bytes);
        let mut reader = BinaryReader::new(&bytes, 0);
        let count = reader.read_var_u32().and_then(|_size| reader.read_var_u32()).expect("just encoded");
        let start = reader.original_position();
        Entries { id: section.id(), count, bytes: bytes.split_off(start) }
    }

    fn alone(&self) -> Vec<u8> {
        let mut contents = Vec::new();
        self.count.encode(&mut contents);
        contents.extend_from_slice(&self.bytes);
        contents
    }

    /// These behind those that a section has.
    fn behind(&self, contents: &[u8]) -> Outcome<Vec<u8>> {
        let mut reader = BinaryReader::new(contents, 0);
        let count = reader.read_var_u32()?;
        let mut joined = Vec::new();
        (count + self.count).encode(&mut joined);
        joined.extend_from_slice(&contents[reader.original_position()..]);
        joined.extend_from_slice(&self.bytes);
        Ok(joined)
    }
}

/// The place of a section in a module; custom sections stand anywhere.
pub fn rank(id: u8) -> u8 {
    const ORDER: [SectionId; 13] = [
        SectionId::Type, SectionId::Import, SectionId::Function, SectionId::Table, SectionId::Memory,
        SectionId::Tag, SectionId::Global, SectionId::Export, SectionId::Start, SectionId::Element,
        SectionId::DataCount, SectionId::Code, SectionId::Data,
    ];
    ORDER.iter().position(|&section| section as u8 == id).map_or(0, |at| at as u8 + 1)
}

fn additions(scan: &Scan, plan: &Plan) -> Additions {
    let (types, functions) = helper_types(scan, plan);
    let mut elements = ElementSection::new();
    if plan.needs_empty_elements() {
        elements.passive(Elements::Functions([][..].into()));
    }
    Additions::new([
        Entries::of(&types),
        Entries::of(&functions),
        Entries::of(&flags(plan)),
        Entries::of(&exports(scan, plan)),
        Entries::of(&elements),
    ])
}

/// A helper takes what memory.init or table.init takes: where to, where from, how much.
fn helper_types(scan: &Scan, plan: &Plan) -> (TypeSection, FunctionSection) {
    let mut types = TypeSection::new();
    let mut functions = FunctionSection::new();
    let mut made: BTreeMap<bool, u32> = BTreeMap::new(); // by whether addresses have 64 bits
    for init in plan.helpers.keys() {
        let wide = match *init {
            Init::Memory { memory, .. } => scan.memories[memory as usize].memory64,
            Init::Table { table, .. } => scan.tables[table as usize].ty.table64,
        };
        let index = *made.entry(wide).or_insert_with(|| {
            let address = if wide { ValType::I64 } else { ValType::I32 };
            types.ty().function([address, ValType::I32, ValType::I32], []);
            scan.types + types.len() - 1
        });
        functions.function(index);
    }
    (types, functions)
}

fn flags(plan: &Plan) -> GlobalSection {
    let mut globals = GlobalSection::new();
    let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    for _ in 0..plan.flags() {
        globals.global(ty, &ConstExpr::i32_const(0));
    }
    globals
}

fn exports(scan: &Scan, plan: &Plan) -> ExportSection {
    let mut section = ExportSection::new();
    let mut export = |name: String, kind, index| {
        section.export(&format!("{RESERVED}{name}"), kind, index);
    };
    for i in scan.memories_imported..scan.memories.len() as u32 {
        export(format!("m{i}"), ExportKind::Memory, i);
    }
    for i in scan.tables_imported..scan.tables.len() as u32 {
        export(format!("t{i}"), ExportKind::Table, i);
    }
    for (i, _) in scan.state_globals() {
        export(format!("g{i}"), ExportKind::Global, i);
    }
    for (segment, flag) in &plan.data_flags {
        export(format!("d{segment}"), ExportKind::Global, *flag);
    }
    for (segment, flag) in &plan.element_flags {
        export(format!("e{segment}"), ExportKind::Global, *flag);
    }
    for function in &plan.table_functions {
        export(format!("f{function}"), ExportKind::Func, *function);
    }
    if let Some(start) = scan.start {
        export("start".into(), ExportKind::Func, start);
    }
    section
}
