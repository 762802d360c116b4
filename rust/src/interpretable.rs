//! The form of a module that the interpreter runs: its memories are imported, so that they can be ours; it has no
//! start function, which instantiation could not interrupt; and each function begins by noting that it was needed.
//! All indices keep their meaning: imported memories stand before those that were defined, in their order.

use crate::segments::{Segments, CODE, DATA_COUNT};
use wasm_encoder::{Encode, EntityType, ImportSection, MemoryType};
use wasmparser::{
    BinaryReader, BinaryReaderError, CompositeInnerType, Encoding, ExternalKind, FuncValidatorAllocations, FunctionBody,
    OperatorsReader, Parser, Payload, TypeRef, ValidPayload, Validator, VisitOperator, VisitSimdOperator, WasmFeatures,
};

/// The module from which the interpretable form imports memories: "spore:m0", ... and NEEDED.
pub const MODULE: &str = "spore:memory";
/// A memory with a byte for each function that the module defines; 1: it was called.
const NEEDED: &str = "spore:needed";
pub const PAGE: u64 = 64 * 1024;

#[derive(Clone)]
pub struct Interpretable {
    pub wasm: Vec<u8>,
    /// Those that the module defines, in order.
    pub memories: Vec<wasmparser::MemoryType>,
    pub start: Option<u32>,
    pub imported_functions: u32,
    pub functions: u32,
    /// Behind those is one that is to be called before all else: it writes the segments.
    pub begins: bool,
    /// As they stand in the module.
    pub imports: Vec<ExternalKind>,
    pub exports: Vec<String>,
    /// Why the interpreter must not have it.
    pub refused: Option<String>,
    /// Functions, in order, that may be refused by too_many_slots().
    pub high: Vec<u32>,
}

/// Beyond these the translation of a function might be refused in the middle of a call, where it is too late to
/// take another compiler.  The slots of a function, of which a local and an operand have one each, and two if they
/// are 128 bits wide, are counted in 15 bits there; the rest is for what a call takes, and for parameters.
const BODY_BYTES_MAX: usize = 512 * 1024;
const LOCALS_MAX: u64 = 8 * 1024;
const SLOTS_MAX: u64 = 28_000;

/// What the first pass finds.
#[derive(Default)]
struct Outline {
    memories: Vec<wasmparser::MemoryType>,
    imported_memories: u32,
    imported_functions: u32,
    functions: u32,
    start: Option<u32>,
    imports: Vec<ExternalKind>,
    exports: Vec<String>,
    segments: Segments,
    /// Of one function type; at least 1.
    results_max: u64,
}

fn outline(wasm: &[u8]) -> Result<Outline, BinaryReaderError> {
    let mut outline = Outline { results_max: 1, ..Outline::default() };
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding: Encoding::Component, range, .. } => {
                return Err(BinaryReader::new(&[], range.start).read_u8().unwrap_err());
            }
            Payload::TypeSection(section) => {
                for group in section {
                    let group = group?;
                    outline.segments.types += group.types().len() as u32;
                    for ty in group.types() {
                        if let CompositeInnerType::Func(ty) = &ty.composite_type.inner {
                            outline.results_max = outline.results_max.max(ty.results().len() as u64);
                        }
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let kind = match import?.ty {
                        TypeRef::Table(_) => ExternalKind::Table,
                        TypeRef::Memory(_) => ExternalKind::Memory,
                        TypeRef::Global(_) => ExternalKind::Global,
                        _ => ExternalKind::Func,
                    };
                    outline.imports.push(kind);
                    outline.imported_functions += u32::from(kind == ExternalKind::Func);
                    outline.imported_memories += u32::from(kind == ExternalKind::Memory);
                    outline.segments.tables_imported |= kind == ExternalKind::Table;
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    outline.memories.push(memory?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    outline.exports.push(export?.name.to_string());
                }
            }
            Payload::StartSection { func, .. } => outline.start = Some(func),
            Payload::ElementSection(section) => outline.segments.add_elements(section)?,
            Payload::DataCountSection { .. } => outline.segments.data_counted = true,
            Payload::CodeSectionStart { count, .. } => {
                outline.functions = count;
                if !outline.segments.are_written_later() {
                    break; // nothing that is asked for comes later
                }
            }
            Payload::DataSection(section) => outline.segments.add_data(section)?,
            _ => {}
        }
    }
    Ok(outline)
}

/// `wasm` is valid.
pub fn interpretable(wasm: &[u8]) -> Result<Interpretable, BinaryReaderError> {
    let outline = outline(wasm)?;
    // Without a function there is none that could come into a table.
    let later = (outline.functions > 0 && outline.segments.are_written_later()).then_some(&outline.segments);
    let needed_memory = outline.imported_memories + outline.memories.len() as u32;
    let mut made = Interpretable {
        wasm: Vec::with_capacity(wasm.len() + 12 * outline.functions as usize + 256),
        memories: outline.memories.clone(),
        start: outline.start,
        imported_functions: outline.imported_functions,
        functions: outline.functions,
        begins: later.is_some(),
        imports: outline.imports.clone(),
        exports: outline.exports.clone(),
        refused: None,
        high: Vec::new(),
    };
    made.wasm.extend_from_slice(b"\0asm\x01\0\0\0");
    let mut imports_written = false;
    let mut bodies: Vec<u8> = Vec::new();
    let mut bodies_left = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::ImportSection(section) => {
                write_imports(&mut made.wasm, Some((section.count(), &wasm[section.range()])), &outline)?;
                imports_written = true;
            }
            Payload::MemorySection(_) | Payload::StartSection { .. } | Payload::CustomSection(_) => {}
            Payload::CodeSectionStart { count, range, .. } => {
                before_imports(&mut made.wasm, &mut imports_written, &outline)?;
                if let Some(Segments { data: Some(data), data_counted: false, .. }) = later {
                    let mut contents = Vec::new();
                    data.encode(&mut contents);
                    raw_section(&mut made.wasm, DATA_COUNT, &contents);
                }
                bodies = Vec::with_capacity(range.len() + 12 * *count as usize);
                (*count + u32::from(later.is_some())).encode(&mut bodies);
                bodies_left = *count;
                if bodies_left == 0 {
                    raw_section(&mut made.wasm, CODE, &bodies);
                }
            }
            Payload::CodeSectionEntry(body) => {
                let number = outline.functions - bodies_left;
                let bytes = &wasm[body.range()];
                let locals = locals_of(body)?;
                if let Some(why) = refusal(body, bytes, locals.count)? {
                    made.refused = Some(why);
                } else if made.refused.is_none() {
                    // No instruction pushes more than it has bytes, but for those with results of a function type.
                    if bytes.len() as u64 * outline.results_max + 2 * locals.count > SLOTS_MAX {
                        made.high.push(number);
                    }
                }
                write_body(&mut bodies, body, bytes, locals.bytes, number, needed_memory)?;
                bodies_left -= 1;
                if bodies_left == 0 {
                    if let Some(segments) = later {
                        let body = segments.body();
                        if body.len() > BODY_BYTES_MAX {
                            made.refused = Some(format!("segments that take {} bytes of code", body.len()));
                        }
                        bodies.extend_from_slice(&body);
                    }
                    raw_section(&mut made.wasm, CODE, &bodies);
                    bodies = Vec::new();
                }
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    if id > 2 {
                        before_imports(&mut made.wasm, &mut imports_written, &outline)?;
                    }
                    match later {
                        Some(segments) => raw_section(&mut made.wasm, id, &segments.section(id, &wasm[range])?),
                        None => raw_section(&mut made.wasm, id, &wasm[range]),
                    }
                }
            }
        }
    }
    before_imports(&mut made.wasm, &mut imports_written, &outline)?;
    Ok(made)
}

struct Locals {
    count: u64,
    bytes: usize, // of their declarations, with which a body begins
}

fn locals_of(body: &FunctionBody) -> Result<Locals, BinaryReaderError> {
    let mut reader = body.get_locals_reader()?;
    let mut count = 0;
    for _ in 0..reader.get_count() {
        count += u64::from(reader.read()?.0);
    }
    Ok(Locals { count, bytes: reader.original_position() - body.range().start })
}

/// Why a module with that function is refused, as far as can be told without validating it.
fn refusal(body: &FunctionBody, bytes: &[u8], locals: u64) -> Result<Option<String>, BinaryReaderError> {
    if bytes.len() > BODY_BYTES_MAX || locals > LOCALS_MAX {
        return Ok(Some(format!("a function of {} bytes with {locals} locals", bytes.len())));
    }
    // wasmi 2.0.0 resumes it, after it was out of fuel, at another instruction than it stopped at.
    let grows = may_grow_table(bytes) && has(body, Kind::TableGrow)?;
    Ok(grows.then(|| "a table that grows".into()))
}

/// Whether one of `functions`, in order, takes too many slots, which only their validation tells.
pub fn too_many_slots(wasm: &[u8], functions: &[u32]) -> Result<Option<String>, BinaryReaderError> {
    let mut validator = Validator::new_with_features(features());
    let mut allocations = FuncValidatorAllocations::default();
    let mut number = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let ValidPayload::Func(function, body) = validator.payload(&payload?)? else { continue };
        number += 1;
        if functions.binary_search(&(number - 1)).is_err() {
            continue;
        }
        let mut function = function.into_validator(allocations);
        let mut reader = body.get_binary_reader();
        function.read_locals(&mut reader)?;
        let locals = u64::from(function.len_locals()); // with parameters
        let mut height = 0;
        reader.set_features(features());
        let mut operators = OperatorsReader::new(reader);
        while !operators.eof() {
            let offset = operators.original_position();
            function.op(offset, &operators.read()?)?;
            height = height.max(u64::from(function.operand_stack_height()));
        }
        if 2 * (locals + height) > SLOTS_MAX {
            return Ok(Some(format!("a function with {locals} locals and {height} operands")));
        }
        allocations = function.into_allocations();
    }
    Ok(None)
}

/// What modules may use here: spore/wasm/proposals.h, kProposalsOptimised.
pub fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::MEMORY64
}

fn before_imports(out: &mut Vec<u8>, written: &mut bool, outline: &Outline) -> Result<(), BinaryReaderError> {
    if !*written {
        *written = true;
        write_imports(out, None, outline)?;
    }
    Ok(())
}

/// What was imported, then our memories.
fn write_imports(
    out: &mut Vec<u8>,
    there: Option<(u32, &[u8])>,
    outline: &Outline,
) -> Result<(), BinaryReaderError> {
    let mut added = ImportSection::new();
    for (i, memory) in outline.memories.iter().enumerate() {
        // Whatever its length is when it is imported.
        let ty = MemoryType {
            minimum: 0,
            maximum: None,
            memory64: memory.memory64,
            shared: memory.shared,
            page_size_log2: memory.page_size_log2,
        };
        added.import(MODULE, &format!("spore:m{i}"), EntityType::Memory(ty));
    }
    let pages = u64::from(outline.functions).div_ceil(PAGE);
    let needed = MemoryType { minimum: pages, maximum: None, memory64: false, shared: false, page_size_log2: None };
    added.import(MODULE, NEEDED, EntityType::Memory(needed));
    let mut encoded = Vec::new();
    added.encode(&mut encoded); // length, count, imports
    let mut reader = BinaryReader::new(&encoded, 0);
    reader.read_var_u32()?;
    let added_count = reader.read_var_u32()?;
    let added = &encoded[reader.original_position()..];
    let (count, there) = match there {
        Some((count, section)) => {
            let mut reader = BinaryReader::new(section, 0);
            reader.read_var_u32()?;
            (count, &section[reader.original_position()..])
        }
        None => (0, &[][..]),
    };
    let mut section = Vec::new();
    (count + added_count).encode(&mut section);
    section.extend_from_slice(there);
    section.extend_from_slice(added);
    raw_section(out, 2, &section);
    Ok(())
}

fn raw_section(out: &mut Vec<u8>, id: u8, contents: &[u8]) {
    out.push(id);
    (contents.len() as u32).encode(out);
    out.extend_from_slice(contents);
}

fn write_body(
    out: &mut Vec<u8>,
    body: &FunctionBody,
    bytes: &[u8],
    begin: usize, // of its instructions
    number: u32,
    needed_memory: u32,
) -> Result<(), BinaryReaderError> {
    let mut note = Vec::with_capacity(16);
    note.extend_from_slice(&[0x41, 0, 0x41, 1]); // i32.const 0, i32.const 1
    note.extend_from_slice(&[0x3a, 0x40]); // i32.store8, not aligned, of a memory that is named
    needed_memory.encode(&mut note);
    number.encode(&mut note); // the offset
    let breaks = fused_selects(body, bytes)?;
    ((bytes.len() + note.len() + breaks.len() * SAME_CONDITION.len()) as u32).encode(out);
    out.extend_from_slice(&bytes[..begin]);
    out.extend_from_slice(&note);
    let mut from = begin;
    for at in breaks {
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(&SAME_CONDITION);
        from = at;
    }
    out.extend_from_slice(&bytes[from..]);
    Ok(())
}

const SAME_CONDITION: [u8; 3] = [0x41, 1, 0x71]; // i32.const 1, i32.and: of a comparison's result, the same
const NOP: u8 = 0x01;
const SELECTS: [u8; 2] = [0x1b, 0x1c];
const TABLE_GROW: [u8; 2] = [0xfc, 15];
const COMPARISONS: [u8; 3] = [0x45, 0x46, 0x47]; // i32.eqz, i32.eq, i32.ne

/// Where a `select` follows a comparison with zero, in a body.  wasmi 2.0.0 takes both for one instruction and then
/// looks at the wrong condition, if what is compared is a local; with something between them it does not.
/// (tests/tiers found it: `(select (i32.const 1) (local.get 0) (i32.eqz (local.get 0)))` gave 1 for 8.)
fn fused_selects(body: &FunctionBody, bytes: &[u8]) -> Result<Vec<usize>, BinaryReaderError> {
    let mut found = Vec::new();
    if !may_fuse(bytes) {
        return Ok(found);
    }
    let mut compared = false;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let offset = operators.original_position();
        match operators.visit_operator(&mut Kinds)? {
            Kind::Nothing => {}
            Kind::Comparison => compared = true,
            Kind::Select if compared => {
                found.push(offset - body.range().start);
                compared = false;
            }
            _ => compared = false,
        }
    }
    Ok(found)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Nothing,
    Comparison,
    Select,
    TableGrow,
    Other,
}

/// Tells instructions apart without making anything of them: of megabytes of code.
struct Kinds;

macro_rules! kind {
    (visit_nop) => { Kind::Nothing };
    (visit_i32_eqz) => { Kind::Comparison };
    (visit_i32_eq) => { Kind::Comparison };
    (visit_i32_ne) => { Kind::Comparison };
    (visit_select) => { Kind::Select };
    (visit_typed_select) => { Kind::Select };
    (visit_typed_select_multi) => { Kind::Select };
    (visit_table_grow) => { Kind::TableGrow };
    ($($other:tt)*) => { Kind::Other };
}
macro_rules! visits {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $(fn $visit(&mut self $($(, _: $argty)*)?) -> Kind { kind!($visit) })*
    };
}
impl<'a> VisitOperator<'a> for Kinds {
    type Output = Kind;
    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = Kind>> {
        Some(self)
    }
    wasmparser::for_each_visit_operator!(visits);
}
impl VisitSimdOperator<'_> for Kinds {
    wasmparser::for_each_visit_simd_operator!(visits);
}

/// By bytes alone, in which such a pair may be the end of something else: of few bodies.
fn may_fuse(bytes: &[u8]) -> bool {
    memchr::memchr2_iter(SELECTS[0], SELECTS[1], bytes).any(|at| {
        let before = bytes[..at].iter().rev().find(|byte| **byte != NOP);
        before.is_some_and(|byte| COMPARISONS.contains(byte))
    })
}

/// Likewise, whether a `table.grow` may be among them: its number may have more bytes than it takes.
fn may_grow_table(bytes: &[u8]) -> bool {
    memchr::memchr_iter(TABLE_GROW[0], bytes).any(|at| {
        BinaryReader::new(&bytes[at + 1..], 0).read_var_u32().is_ok_and(|number| number == u32::from(TABLE_GROW[1]))
    })
}

fn has(body: &FunctionBody, wanted: Kind) -> Result<bool, BinaryReaderError> {
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        if operators.visit_operator(&mut Kinds)? == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}
