//! What of a module the preparer looks at: its state, its segments, and the code that changes them.

use std::collections::BTreeSet;
use wasmparser::{
    BinaryReaderError, ConstExpr, Data, ElementItems, ElementKind, ExternalKind, FunctionBody,
    GlobalType, MemoryType, Operator, Parser, Payload, TableType, TypeRef, ValType,
};

pub type Outcome<T> = Result<T, BinaryReaderError>;

/// What the names of the preparer's exports begin with; none of them has a slash.
pub const RESERVED: &str = "spore:";

/// Index spaces hold the imported entries first, as the module has them.
#[derive(Default)]
pub struct Scan<'a> {
    pub types: u32,
    pub functions: u32,
    pub functions_imported: u32,
    pub memories: Vec<MemoryType>,
    pub memories_imported: u32,
    pub tables: Vec<Table>,
    pub tables_imported: u32,
    pub globals: Vec<Global>,
    pub globals_imported: u32,
    /// The functions that are referred to outside of code, and so all that tables can be given of this
    /// module: validation holds ref.func in code to them.
    pub referenced: BTreeSet<u32>,
    pub start: Option<u32>,
    pub data: Vec<Data<'a>>,
    /// Of each element segment: is it passive?  Active and declared ones are dropped by instantiation.
    pub elements_passive: Vec<bool>,
    pub bodies: u32,
    pub uses: Uses,
    pub asyncify: Asyncify,
    /// A name of the module's own that begins with RESERVED.
    pub reserved_name: Option<&'a str>,
}

pub struct Table {
    pub ty: TableType,
    pub exported: bool,
}

pub struct Global {
    pub ty: GlobalType,
    /// The bits of its initial value, little-endian; None if it is not a constant.
    pub initial: Option<[u8; 16]>,
}

/// What code does.
#[derive(Default)]
pub struct Uses {
    pub memory_grow: bool,
    pub data_dropped: BTreeSet<u32>,
    pub elements_dropped: BTreeSet<u32>,
    pub inits: BTreeSet<Init>,
    pub tables_written: BTreeSet<u32>,
    pub tables_grown: BTreeSet<u32>,
    /// Which bodies drop segments or initialise from them, by their place in the code section.
    pub bodies: BTreeSet<u32>,
}

/// memory.init or table.init.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Init {
    Memory { segment: u32, memory: u32 },
    Table { segment: u32, table: u32 },
}

impl Init {
    pub fn of(op: &Operator) -> Option<Init> {
        match *op {
            Operator::MemoryInit { data_index, mem } => Some(Init::Memory { segment: data_index, memory: mem }),
            Operator::TableInit { elem_index, table } => Some(Init::Table { segment: elem_index, table }),
            _ => None,
        }
    }
}

impl<'a> Scan<'a> {
    /// Reads a module that is known to be valid.
    pub fn read(data: &'a [u8]) -> Outcome<Scan<'a>> {
        let mut scan = Scan::default();
        for payload in Parser::new(0).parse_all(data) {
            match payload? {
                Payload::CodeSectionEntry(body) => {
                    scan.uses.read_body(scan.bodies, &body)?;
                    scan.asyncify.read_body(scan.functions_imported + scan.bodies, &body)?;
                    scan.bodies += 1;
                }
                payload => scan.read_section(payload)?,
            }
        }
        Ok(scan)
    }

    fn read_section(&mut self, payload: Payload<'a>) -> Outcome<()> {
        match payload {
            Payload::TypeSection(reader) => {
                for group in reader {
                    self.types += group?.types().len() as u32;
                }
            }
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let import = import?;
                    self.check_name(import.module);
                    self.check_name(import.name);
                    self.add_import(import.ty);
                }
                self.functions_imported = self.functions;
                self.memories_imported = self.memories.len() as u32;
                self.tables_imported = self.tables.len() as u32;
                self.globals_imported = self.globals.len() as u32;
            }
            Payload::FunctionSection(reader) => self.functions += reader.count(),
            Payload::TableSection(reader) => {
                for table in reader {
                    self.tables.push(Table { ty: table?.ty, exported: false });
                }
            }
            Payload::MemorySection(reader) => {
                for memory in reader {
                    self.memories.push(memory?);
                }
            }
            Payload::GlobalSection(reader) => {
                for global in reader {
                    let global = global?;
                    let initial = constant(&global.init_expr)?.map(Value::bits);
                    self.refer_in(&global.init_expr)?;
                    self.globals.push(Global { ty: global.ty, initial });
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    let export = export?;
                    self.check_name(export.name);
                    match export.kind {
                        ExternalKind::Table => self.tables[export.index as usize].exported = true,
                        ExternalKind::Func => {
                            self.referenced.insert(export.index);
                            self.asyncify.note_export(export.name, export.index);
                        }
                        _ => {}
                    }
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(reader) => {
                for element in reader {
                    let element = element?;
                    self.elements_passive.push(matches!(element.kind, ElementKind::Passive));
                    self.refer_in_items(element.items)?;
                }
            }
            Payload::DataSection(reader) => {
                for data in reader {
                    self.data.push(data?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The mutable globals that are defined here, with their indices.
    pub fn state_globals(&self) -> impl Iterator<Item = (u32, &Global)> {
        let defined = (0..).zip(&self.globals).skip(self.globals_imported as usize);
        defined.filter(|(_, global)| global.ty.mutable)
    }

    /// The globals in which asyncify keeps its state and the address of its data; None if this module is not
    /// one that it rewrote.
    pub fn asyncify_globals(&self) -> Option<(u32, u32)> {
        let (state, data) = (self.asyncify.state?, self.asyncify.data?);
        let own = |index| {
            self.state_globals().any(|(own, global)| own == index && global.ty.content_type == ValType::I32)
        };
        (Some(state) == self.asyncify.state_got && own(state) && own(data)).then_some((state, data))
    }

    /// Whether code writes to a table that is defined here.
    pub fn writes_own_table(&self) -> bool {
        self.uses.tables_written.range(self.tables_imported..).next().is_some()
    }

    fn refer_in_items(&mut self, items: ElementItems) -> Outcome<()> {
        match items {
            ElementItems::Functions(functions) => {
                for function in functions {
                    self.referenced.insert(function?);
                }
            }
            ElementItems::Expressions(_, exprs) => {
                for expr in exprs {
                    self.refer_in(&expr?)?;
                }
            }
        }
        Ok(())
    }

    fn refer_in(&mut self, expr: &ConstExpr) -> Outcome<()> {
        let mut operators = expr.get_operators_reader();
        while !operators.eof() {
            if let Operator::RefFunc { function_index } = operators.read()? {
                self.referenced.insert(function_index);
            }
        }
        Ok(())
    }

    /// `spore:document/fields` is the name of an interface, as WIT has it; no name of ours has a slash.
    fn check_name(&mut self, name: &'a str) {
        if name.starts_with(RESERVED) && !name.contains('/') && self.reserved_name.is_none() {
            self.reserved_name = Some(name);
        }
    }

    fn add_import(&mut self, ty: TypeRef) {
        match ty {
            TypeRef::Func(_) | TypeRef::FuncExact(_) => self.functions += 1,
            TypeRef::Table(ty) => self.tables.push(Table { ty, exported: false }),
            TypeRef::Memory(ty) => self.memories.push(ty),
            TypeRef::Global(ty) => self.globals.push(Global { ty, initial: None }),
            TypeRef::Tag(_) => {}
        }
    }
}

/// What tells a module that Binaryen's asyncify rewrote: two of the functions that it adds.
#[derive(Default)]
pub struct Asyncify {
    start_unwind: Option<u32>,
    get_state: Option<u32>,
    /// The globals that start_unwind sets.
    state: Option<u32>,
    data: Option<u32>,
    /// The one that get_state gives.
    state_got: Option<u32>,
}

impl Asyncify {
    fn note_export(&mut self, name: &str, index: u32) {
        match name {
            "asyncify_start_unwind" => self.start_unwind = Some(index),
            "asyncify_get_state" => self.get_state = Some(index),
            _ => {}
        }
    }

    fn read_body(&mut self, function: u32, body: &FunctionBody) -> Outcome<()> {
        if Some(function) != self.start_unwind && Some(function) != self.get_state {
            return Ok(());
        }
        let mut ops = Vec::new();
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() && ops.len() <= START_UNWIND_OPS {
            ops.push(operators.read()?);
        }
        if Some(function) == self.get_state {
            if let [Operator::GlobalGet { global_index }, Operator::End] = ops[..] {
                self.state_got = Some(global_index);
            }
        } else if let Some((state, data)) = start_unwind_globals(&ops) {
            (self.state, self.data) = (Some(state), Some(data));
        }
        Ok(())
    }
}

const START_UNWIND_OPS: usize = 13;

/// Of `state = 1; data = address; if (data.current > data.end) unreachable`.
fn start_unwind_globals(ops: &[Operator]) -> Option<(u32, u32)> {
    use Operator::*;
    let [I32Const { value: 1 }, GlobalSet { global_index: state }, LocalGet { local_index: 0 }, GlobalSet { global_index: data }, rest @ ..] =
        ops
    else {
        return None;
    };
    let [GlobalGet { global_index: current_of }, I32Load { memarg: current }, GlobalGet { global_index: end_of }, I32Load { memarg: end }, I32GtU, If { .. }, Unreachable, End, End] =
        rest
    else {
        return None;
    };
    let known = state != data && current_of == data && end_of == data && current.offset == 0 && end.offset == 4;
    (known && current.memory == 0 && end.memory == 0).then_some((*state, *data))
}

impl Uses {
    pub fn read_body(&mut self, number: u32, body: &FunctionBody) -> Outcome<()> {
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let op = operators.read()?;
            match op {
                Operator::MemoryGrow { .. } => self.memory_grow = true,
                Operator::TableSet { table } | Operator::TableFill { table } => {
                    self.tables_written.insert(table);
                }
                Operator::TableCopy { dst_table, .. } => {
                    self.tables_written.insert(dst_table);
                }
                Operator::TableGrow { table } => {
                    self.tables_written.insert(table);
                    self.tables_grown.insert(table);
                }
                Operator::DataDrop { data_index } => {
                    self.data_dropped.insert(data_index);
                    self.bodies.insert(number);
                }
                Operator::ElemDrop { elem_index } => {
                    self.elements_dropped.insert(elem_index);
                    self.bodies.insert(number);
                }
                _ => {}
            }
            if let Some(init) = Init::of(&op) {
                if let Init::Table { table, .. } = init {
                    self.tables_written.insert(table);
                }
                self.inits.insert(init);
                self.bodies.insert(number);
            }
        }
        Ok(())
    }
}

// --- constants ----------------------------------------------------------------------------------------

#[derive(Clone, Copy)]
pub enum Value {
    I32(i32),
    I64(i64),
    Other([u8; 16]),
}

impl Value {
    /// The value as an offset: addresses are unsigned.
    pub fn offset(self) -> Option<u64> {
        match self {
            Value::I32(value) => Some(u64::from(value as u32)),
            Value::I64(value) => Some(value as u64),
            Value::Other(_) => None,
        }
    }

    pub fn bits(self) -> [u8; 16] {
        match self {
            Value::I32(value) => widened(&value.to_le_bytes()),
            Value::I64(value) => widened(&value.to_le_bytes()),
            Value::Other(bits) => bits,
        }
    }
}

fn widened(bytes: &[u8]) -> [u8; 16] {
    let mut bits = [0; 16];
    bits[..bytes.len()].copy_from_slice(bytes);
    bits
}

/// The value of a constant expression; None if it depends on an import, or is a reference.
pub fn constant(expr: &ConstExpr) -> Outcome<Option<Value>> {
    let mut stack = Vec::new();
    let mut operators = expr.get_operators_reader();
    while !operators.eof() {
        let value = match operators.read()? {
            Operator::End => break,
            Operator::I32Const { value } => Some(Value::I32(value)),
            Operator::I64Const { value } => Some(Value::I64(value)),
            Operator::F32Const { value } => Some(Value::Other(widened(&value.bits().to_le_bytes()))),
            Operator::F64Const { value } => Some(Value::Other(widened(&value.bits().to_le_bytes()))),
            Operator::V128Const { value } => Some(Value::Other(*value.bytes())),
            op => combined(&op, stack.pop(), stack.pop()),
        };
        let Some(value) = value else { return Ok(None) };
        stack.push(value);
    }
    Ok(stack.pop())
}

fn combined(op: &Operator, right: Option<Value>, left: Option<Value>) -> Option<Value> {
    match (op, left?, right?) {
        (Operator::I32Add, Value::I32(a), Value::I32(b)) => Some(Value::I32(a.wrapping_add(b))),
        (Operator::I32Sub, Value::I32(a), Value::I32(b)) => Some(Value::I32(a.wrapping_sub(b))),
        (Operator::I32Mul, Value::I32(a), Value::I32(b)) => Some(Value::I32(a.wrapping_mul(b))),
        (Operator::I64Add, Value::I64(a), Value::I64(b)) => Some(Value::I64(a.wrapping_add(b))),
        (Operator::I64Sub, Value::I64(a), Value::I64(b)) => Some(Value::I64(a.wrapping_sub(b))),
        (Operator::I64Mul, Value::I64(a), Value::I64(b)) => Some(Value::I64(a.wrapping_mul(b))),
        _ => None,
    }
}
