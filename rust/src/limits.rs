//! What makes a module dear to compile, counted without compiling it (spore/code/compile_limits.cc declares
//! the same structures and judges).  Reads bytes that nobody validated, in one pass; allocates no more than a
//! constant times their length.

use crate::fence::{bytes, fenced};
use std::ffi::c_void;
use wasmparser::{
    BinaryReaderError, BlockType, CompositeInnerType, ConstExpr, DataKind, ElementItems, ElementKind, Encoding,
    FunctionBody, Operator, Parser, Payload, TypeRef, ValType,
};

const STATUS_OK: u8 = 0;
const STATUS_INVALID: u8 = 1;
const STATUS_COMPONENT: u8 = 2;
const STATUS_PANIC: u8 = 3;

/// The largest count that one function has, and which function that is, imported ones counted.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Most {
    count: u64,
    function: u64,
}

impl Most {
    fn see(&mut self, count: u64, function: u64) {
        if count > self.count {
            *self = Most { count, function };
        }
    }
}

#[repr(C)]
#[derive(Default)]
pub struct CompileFacts {
    /// With a body.
    functions: u64,
    /// Of all bodies.
    code_bytes: u64,
    /// What all locals take in frames: 16 bytes a v128, 8 any other.
    locals_bytes: u64,
    /// What calls and blocks take and give, summed over all of them: two bytes of code can name a type
    /// of 2,000 values.
    values: u64,
    br_table_targets: u64,
    /// What is written at instantiation, for which code is made: active segments, elements that are
    /// expressions, and the instructions of constant expressions beyond a constant.
    initialisers: u64,
    body_bytes: Most,
    locals: Most,
    values_of_one: Most,
    br_table_targets_of_one: Most,
    nesting: Most,
}

/// Where the message of an error goes; it is valid during the call only.
#[repr(C)]
pub struct LimitsSink {
    env: *mut c_void,
    error: extern "C" fn(*mut c_void, *const u8, usize, u64),
}

/// Counts what `data` holds.
///
/// # Safety
/// `data` is readable for `len` bytes; `sink` and `facts` are valid.
#[no_mangle]
pub unsafe extern "C" fn spore_compile_facts(
    data: *const u8,
    len: usize,
    sink: *const LimitsSink,
    facts: *mut CompileFacts,
) -> u8 {
    fenced(STATUS_PANIC, || {
        let mut counter = Counter::default();
        match counter.read(bytes(data, len)) {
            Ok(true) => {
                *facts = counter.facts;
                STATUS_OK
            }
            Ok(false) => STATUS_COMPONENT,
            Err(error) => {
                let sink = &*sink;
                let text = error.message();
                (sink.error)(sink.env, text.as_ptr(), text.len(), error.offset() as u64);
                STATUS_INVALID
            }
        }
    })
}

type Outcome<T> = Result<T, BinaryReaderError>;

#[derive(Default)]
struct Counter {
    facts: CompileFacts,
    /// Parameters and results of each type; 0 for what is no function type.
    types: Vec<u32>,
    /// The same of each function.
    functions: Vec<u32>,
    imported: u64,
}

impl Counter {
    /// Ok(false): a component.
    fn read(&mut self, data: &[u8]) -> Outcome<bool> {
        for payload in Parser::new(0).parse_all(data) {
            match payload? {
                Payload::Version { encoding: Encoding::Component, .. } => return Ok(false),
                Payload::TypeSection(reader) => {
                    for group in reader {
                        for ty in group?.into_types() {
                            self.types.push(match &ty.composite_type.inner {
                                CompositeInnerType::Func(ty) => (ty.params().len() + ty.results().len()) as u32,
                                _ => 0,
                            });
                        }
                    }
                }
                Payload::ImportSection(reader) => {
                    for import in reader.into_imports() {
                        if let TypeRef::Func(ty) | TypeRef::FuncExact(ty) = import?.ty {
                            self.functions.push(self.values_of_type(ty));
                            self.imported += 1;
                        }
                    }
                }
                Payload::FunctionSection(reader) => {
                    for ty in reader {
                        let values = self.values_of_type(ty?);
                        self.functions.push(values);
                    }
                }
                Payload::GlobalSection(reader) => {
                    for global in reader {
                        self.read_initial(&global?.init_expr)?;
                    }
                }
                Payload::ElementSection(reader) => {
                    for element in reader {
                        let element = element?;
                        if let ElementKind::Active { offset_expr, .. } = &element.kind {
                            self.facts.initialisers += 1;
                            self.read_initial(offset_expr)?;
                        }
                        if let ElementItems::Expressions(_, items) = element.items {
                            self.facts.initialisers += u64::from(items.count());
                        }
                    }
                }
                Payload::DataSection(reader) => {
                    for data in reader {
                        if let DataKind::Active { offset_expr, .. } = &data?.kind {
                            self.facts.initialisers += 1;
                            self.read_initial(offset_expr)?;
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => self.read_body(&body)?,
                _ => {}
            }
        }
        Ok(true)
    }

    /// A plain constant needs no code.
    fn read_initial(&mut self, expr: &ConstExpr) -> Outcome<()> {
        let mut operators = expr.get_operators_reader();
        while !operators.eof() {
            self.facts.initialisers += match operators.read()? {
                Operator::I32Const { .. }
                | Operator::I64Const { .. }
                | Operator::F32Const { .. }
                | Operator::F64Const { .. }
                | Operator::V128Const { .. }
                | Operator::RefNull { .. }
                | Operator::End => 0,
                _ => 1,
            };
        }
        Ok(())
    }

    /// Of a type that is not there nothing is known; the compiler will refuse the module.
    fn values_of_type(&self, ty: u32) -> u32 {
        self.types.get(ty as usize).copied().unwrap_or(0)
    }

    fn values_of_block(&self, ty: BlockType) -> u32 {
        match ty {
            BlockType::Empty => 0,
            BlockType::Type(_) => 1,
            BlockType::FuncType(ty) => self.values_of_type(ty),
        }
    }

    fn values_of(&self, op: &Operator) -> u32 {
        match *op {
            Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                self.values_of_block(blockty)
            }
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                self.functions.get(function_index as usize).copied().unwrap_or(0)
            }
            Operator::CallIndirect { type_index, .. } | Operator::ReturnCallIndirect { type_index, .. } => {
                self.values_of_type(type_index)
            }
            _ => 0,
        }
    }

    fn read_body(&mut self, body: &FunctionBody) -> Outcome<()> {
        let function = self.imported + self.facts.functions;
        self.facts.functions += 1;
        let size = body.range().len() as u64;
        self.facts.code_bytes += size;
        self.facts.body_bytes.see(size, function);

        let mut locals = 0u64;
        for declared in body.get_locals_reader()? {
            let (count, ty) = declared?;
            locals += u64::from(count);
            let bytes = if ty == ValType::V128 { 16 } else { 8 };
            self.facts.locals_bytes = self.facts.locals_bytes.saturating_add(u64::from(count) * bytes);
        }
        self.facts.locals.see(locals, function);

        let (mut depth, mut values, mut targets) = (0u64, 0u64, 0u64);
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let op = operators.read()?;
            match &op {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                    depth += 1;
                    self.facts.nesting.see(depth, function);
                }
                Operator::End => depth = depth.saturating_sub(1),
                Operator::BrTable { targets: table } => targets += u64::from(table.len()) + 1,
                _ => {}
            }
            values += u64::from(self.values_of(&op));
        }
        self.facts.values += values;
        self.facts.values_of_one.see(values, function);
        self.facts.br_table_targets += targets;
        self.facts.br_table_targets_of_one.see(targets, function);
        Ok(())
    }
}
