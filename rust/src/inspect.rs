//! What a module is: validated, and its facts told to C++ (spore/wasm/inspect.cc, which declares the
//! same structures).  Reads untrusted bytes; allocates no more than a constant times their length.

use crate::fence::{bytes, fenced};
use std::ffi::c_void;
use std::fmt::Write;
use wasmparser::{
    AbstractHeapType, BinaryReaderError, BlockType, CompositeInnerType, DataKind, ElementItems, ElementKind, Encoding, ExternalKind, FuncType,
    GlobalType, HeapType, MemoryType, Operator, Parser, Payload, RefType, TableInit, TableType, TypeRef, ValType, Validator,
    WasmFeatures,
};

pub const STATUS_OK: u8 = 0;
pub const STATUS_INVALID: u8 = 1;
pub const STATUS_COMPONENT: u8 = 2;
pub const STATUS_PANIC: u8 = 3;

// Bits of Facts::proposals; spore/wasm/proposals.h has the same list.
const MUTABLE_GLOBALS: u32 = 1 << 0;
const SATURATING_FLOAT_TO_INT: u32 = 1 << 1;
const SIGN_EXTENSION: u32 = 1 << 2;
const MULTI_VALUE: u32 = 1 << 3;
const BULK_MEMORY: u32 = 1 << 4;
const REFERENCE_TYPES: u32 = 1 << 5;
const SIMD: u32 = 1 << 6;
const RELAXED_SIMD: u32 = 1 << 7;
const TAIL_CALL: u32 = 1 << 8;
const EXTENDED_CONST: u32 = 1 << 9;
const MULTI_MEMORY: u32 = 1 << 10;
const MEMORY64: u32 = 1 << 11;
const THREADS: u32 = 1 << 12;
const EXCEPTIONS: u32 = 1 << 13;
const GC: u32 = 1 << 14;
const FUNCTION_REFERENCES: u32 = 1 << 15;
const WIDE_ARITHMETIC: u32 = 1 << 16;
const CUSTOM_PAGE_SIZES: u32 = 1 << 17;
const EXTERNREF: u32 = 1 << 18;
const OTHER: u32 = 1 << 19;

#[repr(C)]
#[derive(Default)]
pub struct Facts {
    proposals: u32,
    has_start: u8,
    functions: u32,
    functions_imported: u32,
    tables: u32,
    memories: u32,
    globals: u32,
    globals_mutable: u32,
    data_segments: u32,
    element_segments: u32,
    code_bytes: u64,
    data_bytes: u64,
    custom_bytes: u64,
    body_bytes_max: u64,
}

/// Where the parts of the answer go.  Strings are valid during the call only.
#[repr(C)]
pub struct Sink {
    env: *mut c_void,
    import: extern "C" fn(*mut c_void, *const u8, usize, *const u8, usize, *const u8, usize),
    export: extern "C" fn(*mut c_void, *const u8, usize, *const u8, usize),
    memory: extern "C" fn(*mut c_void, *const u8, usize),
    custom: extern "C" fn(*mut c_void, *const u8, usize, u64),
    error: extern "C" fn(*mut c_void, *const u8, usize, u64),
}

/// Validates `data` under every proposal the parser knows and reports its facts.
///
/// # Safety
/// `data` is readable for `len` bytes; `sink` and `facts` are valid.
#[no_mangle]
pub unsafe extern "C" fn spore_inspect(
    data: *const u8,
    len: usize,
    sink: *const Sink,
    facts: *mut Facts,
) -> u8 {
    fenced(STATUS_PANIC, || {
        let sink = &*sink;
        let mut inspector = Inspector::default();
        let outcome = inspector.run(bytes(data, len), sink);
        *facts = inspector.facts;
        match outcome {
            Ok(true) => STATUS_OK,
            Ok(false) => STATUS_COMPONENT,
            Err(error) => {
                let text = error.message();
                (sink.error)(sink.env, text.as_ptr(), text.len(), error.offset() as u64);
                STATUS_INVALID
            }
        }
    })
}

#[derive(Default)]
struct Inspector {
    facts: Facts,
    types: Vec<Option<FuncType>>, // None: not a function type
    functions: Vec<u32>,
    tables: Vec<TableType>,
    memories: Vec<MemoryType>,
    globals: Vec<GlobalType>,
    globals_imported: u32,
}

type Outcome<T> = Result<T, BinaryReaderError>;

impl Inspector {
    /// Ok(false): a component.
    fn run(&mut self, data: &[u8], sink: &Sink) -> Outcome<bool> {
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut bodies = Vec::new();
        for payload in Parser::new(0).parse_all(data) {
            let payload = payload?;
            if let Payload::Version { encoding: Encoding::Component, .. } = payload {
                return Ok(false);
            }
            if let wasmparser::ValidPayload::Func(function, body) = validator.payload(&payload)? {
                bodies.push((function, body));
            }
            self.payload(payload, sink)?;
        }
        let mut allocations = wasmparser::FuncValidatorAllocations::default();
        for (function, body) in bodies {
            let mut function = function.into_validator(allocations);
            function.validate(&body)?;
            allocations = function.into_allocations();
        }
        for memory in &self.memories {
            let text = memory_text(memory);
            (sink.memory)(sink.env, text.as_ptr(), text.len());
        }
        Ok(true)
    }

    fn payload(&mut self, payload: Payload, sink: &Sink) -> Outcome<()> {
        match payload {
            Payload::TypeSection(reader) => {
                for group in reader {
                    let group = group?;
                    if group.is_explicit_rec_group() {
                        self.facts.proposals |= GC;
                    }
                    for sub in group.into_types() {
                        if sub.supertype_idx.is_some() || !sub.is_final {
                            self.facts.proposals |= GC;
                        }
                        self.add_type(&sub.composite_type.inner);
                    }
                }
            }
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let import = import?;
                    let text = self.import_text(&import.ty);
                    let (m, n) = (import.module, import.name);
                    (sink.import)(
                        sink.env, m.as_ptr(), m.len(), n.as_ptr(), n.len(), text.as_ptr(), text.len(),
                    );
                }
                self.facts.functions_imported = self.functions.len() as u32;
                self.globals_imported = self.globals.len() as u32;
            }
            Payload::FunctionSection(reader) => {
                for index in reader {
                    self.functions.push(index?);
                }
                self.facts.functions = self.functions.len() as u32;
            }
            Payload::TableSection(reader) => {
                for table in reader {
                    let table = table?;
                    if let TableInit::Expr(expr) = table.init {
                        self.facts.proposals |= FUNCTION_REFERENCES;
                        self.const_expr(expr.get_operators_reader())?;
                    }
                    self.add_table(table.ty);
                }
            }
            Payload::MemorySection(reader) => {
                for memory in reader {
                    self.add_memory(memory?);
                }
            }
            Payload::GlobalSection(reader) => {
                for global in reader {
                    let global = global?;
                    self.const_expr(global.init_expr.get_operators_reader())?;
                    self.add_global(global.ty);
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    let export = export?;
                    let text = self.export_text(export.kind, export.index);
                    let n = export.name;
                    (sink.export)(sink.env, n.as_ptr(), n.len(), text.as_ptr(), text.len());
                }
            }
            Payload::StartSection { .. } => self.facts.has_start = 1,
            Payload::ElementSection(reader) => {
                for element in reader {
                    let element = element?;
                    self.facts.element_segments += 1;
                    if let ElementKind::Active { offset_expr, .. } = element.kind {
                        self.const_expr(offset_expr.get_operators_reader())?;
                    } else {
                        self.facts.proposals |= BULK_MEMORY;
                    }
                    if let ElementItems::Expressions(ty, items) = element.items {
                        self.value_type(ValType::Ref(ty));
                        for item in items {
                            self.const_expr(item?.get_operators_reader())?;
                        }
                    }
                }
            }
            Payload::DataSection(reader) => {
                for data in reader {
                    let data = data?;
                    self.facts.data_segments += 1;
                    self.facts.data_bytes += data.data.len() as u64;
                    match data.kind {
                        DataKind::Active { offset_expr, .. } => {
                            self.const_expr(offset_expr.get_operators_reader())?;
                        }
                        DataKind::Passive => self.facts.proposals |= BULK_MEMORY,
                    }
                }
            }
            Payload::DataCountSection { .. } => self.facts.proposals |= BULK_MEMORY,
            Payload::TagSection(_) => self.facts.proposals |= EXCEPTIONS,
            Payload::CodeSectionEntry(body) => {
                let size = body.range().len() as u64;
                self.facts.code_bytes += size;
                self.facts.body_bytes_max = self.facts.body_bytes_max.max(size);
                for local in body.get_locals_reader()? {
                    self.value_type(local?.1);
                }
                let mut operators = body.get_operators_reader()?;
                while !operators.eof() {
                    self.operator(&operators.read()?);
                }
            }
            Payload::CustomSection(section) => {
                let size = section.data().len() as u64;
                self.facts.custom_bytes += size;
                let n = section.name();
                (sink.custom)(sink.env, n.as_ptr(), n.len(), size);
            }
            _ => {}
        }
        Ok(())
    }

    fn add_type(&mut self, inner: &CompositeInnerType) {
        match inner {
            CompositeInnerType::Func(ty) => {
                if ty.results().len() > 1 {
                    self.facts.proposals |= MULTI_VALUE;
                }
                for &value in ty.params().iter().chain(ty.results()) {
                    self.value_type(value);
                }
                self.types.push(Some(ty.clone()));
            }
            _ => {
                self.facts.proposals |= GC;
                self.types.push(None);
            }
        }
    }

    fn add_table(&mut self, ty: TableType) {
        if !self.tables.is_empty() {
            self.facts.proposals |= REFERENCE_TYPES;
        }
        if ty.table64 {
            self.facts.proposals |= MEMORY64;
        }
        if ty.element_type != RefType::FUNCREF {
            self.value_type(ValType::Ref(ty.element_type));
        }
        self.tables.push(ty);
        self.facts.tables += 1;
    }

    fn add_memory(&mut self, ty: MemoryType) {
        if !self.memories.is_empty() {
            self.facts.proposals |= MULTI_MEMORY;
        }
        if ty.memory64 {
            self.facts.proposals |= MEMORY64;
        }
        if ty.shared {
            self.facts.proposals |= THREADS;
        }
        if ty.page_size_log2.is_some() {
            self.facts.proposals |= CUSTOM_PAGE_SIZES;
        }
        self.memories.push(ty);
        self.facts.memories += 1;
    }

    fn add_global(&mut self, ty: GlobalType) {
        self.value_type(ty.content_type);
        self.globals.push(ty);
        self.facts.globals += 1;
        self.facts.globals_mutable += u32::from(ty.mutable);
    }

    fn value_type(&mut self, ty: ValType) {
        self.facts.proposals |= match ty {
            ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64 => 0,
            ValType::V128 => SIMD,
            ValType::Ref(RefType::FUNCREF) => REFERENCE_TYPES,
            ValType::Ref(RefType::EXTERNREF) => EXTERNREF,
            ValType::Ref(r) if r.is_func_ref() || r.is_concrete_type_ref() => FUNCTION_REFERENCES,
            ValType::Ref(r) if is_exception(r) => EXCEPTIONS,
            ValType::Ref(_) => GC,
        };
    }

    fn const_expr(&mut self, mut operators: wasmparser::OperatorsReader) -> Outcome<()> {
        while !operators.eof() {
            let op = operators.read()?;
            match op {
                Operator::I32Add | Operator::I32Sub | Operator::I32Mul | Operator::I64Add
                | Operator::I64Sub | Operator::I64Mul => self.facts.proposals |= EXTENDED_CONST,
                // The first version allows imported globals only.
                Operator::GlobalGet { global_index } if global_index >= self.globals_imported => {
                    self.facts.proposals |= GC;
                }
                _ => self.operator(&op),
            }
        }
        Ok(())
    }

    fn operator(&mut self, op: &Operator) {
        self.facts.proposals |= proposal_of(op);
        match op {
            Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                match blockty {
                    BlockType::FuncType(_) => self.facts.proposals |= MULTI_VALUE,
                    BlockType::Type(ty) => self.value_type(*ty),
                    BlockType::Empty => {}
                }
            }
            Operator::TypedSelect { ty } => self.value_type(*ty),
            Operator::RefNull { hty } => {
                if let Some(r) = RefType::new(true, *hty) {
                    self.value_type(ValType::Ref(r));
                }
            }
            _ => {}
        }
    }

    fn import_text(&mut self, ty: &TypeRef) -> String {
        match ty {
            TypeRef::Func(index) | TypeRef::FuncExact(index) => {
                if let TypeRef::FuncExact(_) = ty {
                    self.facts.proposals |= OTHER;
                }
                self.functions.push(*index);
                self.facts.functions = self.functions.len() as u32;
                self.function_text(*index)
            }
            TypeRef::Table(ty) => {
                self.add_table(*ty);
                table_text(ty)
            }
            TypeRef::Memory(ty) => {
                self.add_memory(*ty);
                memory_text(ty)
            }
            TypeRef::Global(ty) => {
                if ty.mutable {
                    self.facts.proposals |= MUTABLE_GLOBALS;
                }
                self.add_global(*ty);
                global_text(ty)
            }
            TypeRef::Tag(_) => {
                self.facts.proposals |= EXCEPTIONS;
                "tag".into()
            }
        }
    }

    fn export_text(&mut self, kind: ExternalKind, index: u32) -> String {
        let at = index as usize; // validated: in range
        match kind {
            ExternalKind::Func | ExternalKind::FuncExact => self.function_text(self.functions[at]),
            ExternalKind::Table => table_text(&self.tables[at]),
            ExternalKind::Memory => memory_text(&self.memories[at]),
            ExternalKind::Global => {
                if self.globals[at].mutable {
                    self.facts.proposals |= MUTABLE_GLOBALS;
                }
                global_text(&self.globals[at])
            }
            ExternalKind::Tag => "tag".into(),
        }
    }

    fn function_text(&self, type_index: u32) -> String {
        let Some(Some(ty)) = self.types.get(type_index as usize) else {
            return "func".into();
        };
        let mut text = String::from("func(");
        for (i, param) in ty.params().iter().enumerate() {
            let _ = write!(text, "{}{param}", if i > 0 { ", " } else { "" });
        }
        text.push(')');
        for (i, result) in ty.results().iter().enumerate() {
            let _ = write!(text, "{}{result}", if i > 0 { ", " } else { " -> " });
        }
        text
    }
}

fn is_exception(ty: RefType) -> bool {
    let HeapType::Abstract { ty, .. } = ty.heap_type() else {
        return false;
    };
    matches!(ty, AbstractHeapType::Exn | AbstractHeapType::NoExn)
}

fn limits_text(minimum: u64, maximum: Option<u64>) -> String {
    maximum.map_or_else(|| format!("{minimum}.."), |maximum| format!("{minimum}..{maximum}"))
}

fn memory_text(ty: &MemoryType) -> String {
    let unit = match ty.page_size_log2 {
        None => "pages of 64 KiB".to_string(),
        Some(log2) => format!("pages of {} bytes", 1u64 << log2),
    };
    let wide = if ty.memory64 { " i64" } else { "" };
    let shared = if ty.shared { " shared" } else { "" };
    format!("memory{wide}{shared} {} {unit}", limits_text(ty.initial, ty.maximum))
}

fn table_text(ty: &TableType) -> String {
    let wide = if ty.table64 { " i64" } else { "" };
    format!("table{wide} {} {}", limits_text(ty.initial, ty.maximum), ty.element_type)
}

fn global_text(ty: &GlobalType) -> String {
    format!("global {}{}", if ty.mutable { "mut " } else { "" }, ty.content_type)
}

/// The proposal that an instruction came with; 0 for the first version of WebAssembly.
fn proposal_of(op: &Operator) -> u32 {
    macro_rules! bit {
        (mvp) => { 0 };
        (sign_extension) => { SIGN_EXTENSION };
        (saturating_float_to_int) => { SATURATING_FLOAT_TO_INT };
        (bulk_memory) => { BULK_MEMORY };
        (reference_types) => { REFERENCE_TYPES };
        (simd) => { SIMD };
        (relaxed_simd) => { RELAXED_SIMD };
        (tail_call) => { TAIL_CALL };
        (threads) => { THREADS };
        (exceptions) => { EXCEPTIONS };
        (legacy_exceptions) => { EXCEPTIONS };
        (gc) => { GC };
        (function_references) => { FUNCTION_REFERENCES };
        (wide_arithmetic) => { WIDE_ARITHMETIC };
        ($other:ident) => { OTHER };
    }
    macro_rules! table {
        ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
            match op {
                $( Operator::$op $({ $($arg: _),* })? => bit!($proposal), )*
                _ => OTHER,
            }
        };
    }
    wasmparser::for_each_operator!(table)
}
