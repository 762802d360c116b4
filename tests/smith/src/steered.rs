//! Modules whose functions change all that a module can change, and whose results depend on it.
//!
//! What is in one is drawn first (`Plan`), then written.  Functions, in order: those of the host, if they are
//! imported; leaves, each of which gives a number of its own, so that it can be told who is in a table; actors
//! (actor.rs), which are called; calculators (calculator.rs), which actors call, too.

use wasm_encoder::{
    CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, HeapType, ImportSection, MemorySection,
    MemoryType, Module, RefType, StartSection, TableSection, TableType, TypeSection, ValType,
};

use crate::dice::Dice;
use crate::{actor, calculator, Made, Options, NO_GLOBAL};

/// Name and number of i32 parameters; no results.
pub const HOST_FUNCTIONS: [(&str, usize); 2] = [("log", 1), ("fill", 3)];
pub const HOST_LOG: u32 = 0;
pub const HOST_FILL: u32 = 1;

pub struct Memory {
    pub is_64: bool,
    pub pages_min: u64,
    pages_max: Option<u64>,
}

pub struct Table {
    pub is_64: bool,
    pub elements_min: u64,
    elements_max: Option<u64>,
}

#[derive(Clone, Copy)]
pub struct Global {
    pub val_type: ValType,
    pub mutable: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    Active { target: u32, offset: u64 },
    Passive,
    Declared,
}

pub struct Data {
    pub mode: Mode,
    pub bytes: Vec<u8>,
}

pub struct Segment {
    pub mode: Mode,
    pub functions: Vec<Option<u32>>, // None: null
}

/// The types of functions, by index.
#[derive(Clone, Copy, PartialEq)]
#[repr(u32)]
pub enum Type {
    Leaf,      // () -> i32
    OtherLeaf, // (i32) -> i32
    Numbers,   // (i32, i32) -> i32
    Nothing,   // () -> ()
    Wide,      // (i64, f64) -> f64
    Vector,    // (v128, f32) -> v128
    // (all) -> one: see calculator.rs.
    GivesI32,
    GivesI64,
    GivesF32,
    GivesF64,
    GivesV128,
}

impl Type {
    /// As often as their results are worth a look.
    const CALCULATORS: [Type; 8] = [
        Type::GivesI32,
        Type::GivesI64,
        Type::GivesF32,
        Type::GivesF32,
        Type::GivesF64,
        Type::GivesF64,
        Type::GivesV128,
        Type::GivesV128,
    ];
    const ALL: [Type; 11] = [
        Type::Leaf,
        Type::OtherLeaf,
        Type::Numbers,
        Type::Nothing,
        Type::Wide,
        Type::Vector,
        Type::GivesI32,
        Type::GivesI64,
        Type::GivesF32,
        Type::GivesF64,
        Type::GivesV128,
    ];

    pub fn params(self) -> &'static [ValType] {
        match self {
            Type::Leaf | Type::Nothing => &[],
            Type::OtherLeaf => &[ValType::I32],
            Type::Numbers => &[ValType::I32, ValType::I32],
            Type::Wide => &[ValType::I64, ValType::F64],
            Type::Vector => &[ValType::V128, ValType::F32],
            _ => &calculator::PARAMS,
        }
    }

    pub fn results(self) -> &'static [ValType] {
        match self {
            Type::Leaf | Type::OtherLeaf | Type::Numbers | Type::GivesI32 => &[ValType::I32],
            Type::Nothing => &[],
            Type::GivesI64 => &[ValType::I64],
            Type::GivesF32 => &[ValType::F32],
            Type::Wide | Type::GivesF64 => &[ValType::F64],
            Type::Vector | Type::GivesV128 => &[ValType::V128],
        }
    }
}

pub struct Plan {
    pub has_host: bool,
    pub plain: bool,
    pub memories: Vec<Memory>,
    pub tables: Vec<Table>,
    pub globals: Vec<Global>,
    pub data: Vec<Data>,
    pub segments: Vec<Segment>,
    pub leaves: u32,
    pub actors: Vec<Type>,
    pub calculators: Vec<Type>, // none, unless more of numbers is asked for
    start: Option<u32>,
}

impl Plan {
    fn draw(options: &Options, dice: &mut Dice) -> Plan {
        let memories = if dice.chance(1, 20) { 0 } else { dice.between(1, 2) };
        let memories = if options.plain == 0 { memories } else { memories.min(1) };
        let tables = if dice.chance(1, 10) { 0 } else { dice.between(1, 3) };
        let tables = if options.plain == 0 { tables } else { tables.min(1) };
        let mut plan = Plan {
            plain: options.plain != 0,
            has_host: dice.chance(1, 2),
            memories: (0..memories).map(|_| draw_memory(options, dice)).collect(),
            tables: (0..tables).map(|_| draw_table(options, dice)).collect(),
            globals: draw_globals(dice),
            data: vec![],
            segments: vec![],
            leaves: dice.between(2, 5),
            actors: (0..dice.between(3, 8)).map(|_| draw_actor(dice)).collect(),
            calculators: vec![],
            start: None,
        };
        plan.data = (0..dice.below(5)).map(|_| plan.draw_data(dice)).collect();
        plan.segments = (0..dice.below(5)).map(|_| plan.draw_segment(dice)).collect();
        if dice.chance(1, 3) {
            plan.actors.push(Type::Nothing);
            plan.start = Some(plan.functions() - 1);
        }
        if options.numbers != 0 {
            plan.calculators = (0..dice.between(2, 5)).map(|_| dice.pick(&Type::CALCULATORS)).collect();
        }
        plan
    }

    pub fn imports(&self) -> u32 {
        if self.has_host { HOST_FUNCTIONS.len() as u32 } else { 0 }
    }

    fn functions(&self) -> u32 {
        self.first_calculator() + self.calculators.len() as u32
    }

    pub fn first_calculator(&self) -> u32 {
        self.first_actor() + self.actors.len() as u32
    }

    pub fn first_actor(&self) -> u32 {
        self.imports() + self.leaves
    }

    /// Leaves are of two types, in turn.
    pub fn leaf_type(leaf: u32) -> Type {
        if leaf % 4 == 3 { Type::OtherLeaf } else { Type::Leaf }
    }

    /// A function for a table: a leaf most of the time.
    pub fn draw_function(&self, dice: &mut Dice) -> u32 {
        if dice.chance(7, 8) {
            self.imports() + dice.below(self.leaves)
        } else {
            dice.below(self.functions())
        }
    }

    fn draw_data(&self, dice: &mut Dice) -> Data {
        let length = dice.pick(&[0, 1, 4, 16, 100, 5000]);
        let seed = dice.bits32() | 1;
        let bytes = (0..length as u32).map(|i| (i.wrapping_mul(seed) >> 11) as u8 | 1).collect();
        let target = dice.below(2);
        let room = self.memories.get(target as usize).map_or(0, |memory| memory.pages_min << 16);
        if room == 0 || dice.chance(1, 2) {
            return Data { mode: Mode::Passive, bytes };
        }
        // On an edge of a page, or anywhere.
        let offset = if dice.chance(1, 2) {
            u64::from(dice.between(1, 15)) * 4096 - u64::from(dice.between(1, 8))
        } else {
            u64::from(dice.bits32()) % room
        };
        Data { mode: Mode::Active { target, offset: offset.min(room - length as u64) }, bytes }
    }

    fn draw_segment(&self, dice: &mut Dice) -> Segment {
        let functions = (0..dice.between(1, 4))
            .map(|_| if dice.chance(1, 6) { None } else { Some(self.draw_function(dice)) })
            .collect::<Vec<_>>();
        let target = dice.below(3);
        let room = self.tables.get(target as usize).map_or(0, |table| table.elements_min);
        let mode = match dice.below(5) {
            0 => Mode::Declared,
            1 | 2 if room >= functions.len() as u64 => {
                let offset = u64::from(dice.below((room - functions.len() as u64 + 1) as u32));
                Mode::Active { target, offset }
            }
            _ => Mode::Passive,
        };
        Segment { mode, functions }
    }
}

fn draw_memory(options: &Options, dice: &mut Dice) -> Memory {
    let pages_min = dice.pick(&[0, 1, 1, 1, 2, 3, 16]).min(u64::from(options.memory_pages_max));
    let pages_max =
        dice.chance(1, 2).then(|| (pages_min + u64::from(dice.below(4))).min(options.memory_pages_max.into()));
    Memory { is_64: dice.chance(1, 8) & (options.plain == 0), pages_min, pages_max }
}

fn draw_table(options: &Options, dice: &mut Dice) -> Table {
    let elements_min = dice.pick(&[0u64, 1, 3, 8, 8, 20]);
    let elements_max = dice.chance(1, 3).then(|| elements_min + u64::from(dice.below(6)));
    Table { is_64: dice.chance(1, 8) & (options.plain == 0), elements_min, elements_max }
}

fn draw_globals(dice: &mut Dice) -> Vec<Global> {
    const NUMBERS: [ValType; 5] = [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128];
    let mut globals = (0..dice.between(1, 7))
        .map(|_| Global { val_type: dice.pick(&NUMBERS), mutable: dice.chance(5, 6) })
        .collect::<Vec<_>>();
    // Such a module cannot be reset in place.
    if dice.chance(1, 16) {
        globals.push(Global { val_type: ValType::FUNCREF, mutable: true });
    }
    globals
}

fn draw_actor(dice: &mut Dice) -> Type {
    dice.pick(&[Type::Numbers, Type::Numbers, Type::Numbers, Type::Nothing, Type::Wide, Type::Vector])
}

pub fn make(options: &Options, mut dice: Dice) -> Made {
    let plan = Plan::draw(options, &mut dice);
    let mut module = Module::new();
    module.section(&types());
    if plan.has_host {
        module.section(&imports());
    }
    module.section(&functions(&plan)).section(&tables(&plan)).section(&memories(&plan));
    module.section(&globals(&plan, &mut dice)).section(&exports(&plan, &mut dice));
    if let Some(function_index) = plan.start {
        module.section(&StartSection { function_index });
    }
    module.section(&elements(&plan, &mut dice)).section(&DataCountSection { count: plan.data.len() as u32 });
    module.section(&code(&plan, &mut dice)).section(&data(&plan));
    Made { wasm: module.finish(), counter_global: NO_GLOBAL }
}

fn types() -> TypeSection {
    let mut section = TypeSection::new();
    for each in Type::ALL {
        section.ty().function(each.params().iter().copied(), each.results().iter().copied());
    }
    for (_, params) in HOST_FUNCTIONS {
        section.ty().function(vec![ValType::I32; params], []);
    }
    section
}

fn imports() -> ImportSection {
    let mut section = ImportSection::new();
    for (i, (name, _)) in HOST_FUNCTIONS.iter().enumerate() {
        section.import("host", name, EntityType::Function((Type::ALL.len() + i) as u32));
    }
    section
}

fn functions(plan: &Plan) -> FunctionSection {
    let mut section = FunctionSection::new();
    for leaf in 0..plan.leaves {
        section.function(Plan::leaf_type(leaf) as u32);
    }
    for &each in plan.actors.iter().chain(&plan.calculators) {
        section.function(each as u32);
    }
    section
}

fn tables(plan: &Plan) -> TableSection {
    let mut section = TableSection::new();
    for table in &plan.tables {
        section.table(TableType {
            element_type: RefType::FUNCREF,
            table64: table.is_64,
            minimum: table.elements_min,
            maximum: table.elements_max,
            shared: false,
        });
    }
    section
}

fn memories(plan: &Plan) -> MemorySection {
    let mut section = MemorySection::new();
    for memory in &plan.memories {
        section.memory(MemoryType {
            minimum: memory.pages_min,
            maximum: memory.pages_max,
            memory64: memory.is_64,
            shared: false,
            page_size_log2: None,
        });
    }
    section
}

fn globals(plan: &Plan, dice: &mut Dice) -> GlobalSection {
    let mut section = GlobalSection::new();
    for global in &plan.globals {
        let initial = match global.val_type {
            ValType::I32 => ConstExpr::i32_const(dice.bits32() as i32),
            ValType::I64 => ConstExpr::i64_const(dice.bits64() as i64),
            // Any bits: NaNs of all kinds among them.
            ValType::F32 => ConstExpr::f32_const(f32::from_bits(dice.bits32()).into()),
            ValType::F64 => ConstExpr::f64_const(f64::from_bits(dice.bits64()).into()),
            ValType::V128 => ConstExpr::v128_const(i128::from(dice.bits64() as i64) << 32),
            _ => ConstExpr::ref_null(HeapType::FUNC),
        };
        let ty = GlobalType { val_type: global.val_type, mutable: global.mutable, shared: false };
        section.global(ty, &initial);
    }
    section
}

fn exports(plan: &Plan, dice: &mut Dice) -> ExportSection {
    let mut section = ExportSection::new();
    for function in 0..plan.functions() {
        section.export(&format!("f{function}"), ExportKind::Func, function);
    }
    if !plan.memories.is_empty() {
        section.export("memory", ExportKind::Memory, 0);
    }
    if dice.chance(1, 4) {
        for i in 0..plan.tables.len() as u32 {
            section.export(&format!("t{i}"), ExportKind::Table, i);
        }
        for i in 0..plan.globals.len() as u32 {
            section.export(&format!("g{i}"), ExportKind::Global, i);
        }
    }
    section
}

fn offset(value: u64, is_64: bool) -> ConstExpr {
    if is_64 { ConstExpr::i64_const(value as i64) } else { ConstExpr::i32_const(value as i32) }
}

fn elements(plan: &Plan, dice: &mut Dice) -> ElementSection {
    let mut section = ElementSection::new();
    for segment in &plan.segments {
        let indices = segment.functions.iter().copied().collect::<Option<Vec<u32>>>();
        let elements = match indices {
            Some(indices) if dice.chance(1, 2) => Elements::Functions(indices.into()),
            _ => Elements::Expressions(
                RefType::FUNCREF,
                segment
                    .functions
                    .iter()
                    .map(|function| match function {
                        Some(function) => ConstExpr::ref_func(*function),
                        None => ConstExpr::ref_null(HeapType::FUNC),
                    })
                    .collect::<Vec<_>>()
                    .into(),
            ),
        };
        match segment.mode {
            Mode::Passive => section.passive(elements),
            Mode::Declared => section.declared(elements),
            Mode::Active { target, offset: at } => {
                section.active(Some(target), &offset(at, plan.tables[target as usize].is_64), elements)
            }
        };
    }
    section
}

fn code(plan: &Plan, dice: &mut Dice) -> CodeSection {
    let mut section = CodeSection::new();
    for leaf in 0..plan.leaves {
        let mut body = Function::new([]);
        body.instructions().i32_const(0x1eaf00 + leaf as i32).end();
        section.function(&body);
    }
    for (i, &actor) in plan.actors.iter().enumerate() {
        let is_start = plan.start == Some(plan.first_actor() + i as u32);
        section.function(&actor::body(plan, i as u32, actor, is_start, dice));
    }
    for calculator in &plan.calculators {
        section.function(&calculator::body(calculator.results()[0], dice));
    }
    section
}

fn data(plan: &Plan) -> DataSection {
    let mut section = DataSection::new();
    for data in &plan.data {
        match data.mode {
            Mode::Active { target, offset: at } => {
                let at = offset(at, plan.memories[target as usize].is_64);
                section.active(target, &at, data.bytes.iter().copied())
            }
            _ => section.passive(data.bytes.iter().copied()),
        };
    }
    section
}
