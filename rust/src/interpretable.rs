//! The form of a module that the interpreter runs: its memories are imported, so that they can be ours; it has no
//! start function, which instantiation could not interrupt; and each function begins by noting that it was needed.
//! All indices keep their meaning: imported memories stand before those that were defined, in their order.

use crate::segments::{Segments, CODE, DATA_COUNT};
use wasm_encoder::{Encode, EntityType, ImportSection, MemoryType};
use wasmparser::{BinaryReader, BinaryReaderError, Encoding, ExternalKind, FunctionBody, Parser, Payload, TypeRef, VisitOperator, VisitSimdOperator};

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
    /// The longest body, and the most locals of one function.
    pub body_bytes_max: usize,
    pub locals_max: u64,
}

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
}

fn outline(wasm: &[u8]) -> Result<Outline, BinaryReaderError> {
    let mut outline = Outline::default();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding: Encoding::Component, range, .. } => {
                return Err(BinaryReader::new(&[], range.start).read_u8().unwrap_err());
            }
            Payload::TypeSection(section) => {
                for group in section {
                    outline.segments.types += group?.types().len() as u32;
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
        body_bytes_max: 0,
        locals_max: 0,
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
                write_body(&mut bodies, &mut made, body, &wasm[body.range()], number, needed_memory)?;
                bodies_left -= 1;
                if bodies_left == 0 {
                    if let Some(segments) = later {
                        let body = segments.body();
                        made.body_bytes_max = made.body_bytes_max.max(body.len());
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
    made: &mut Interpretable,
    body: &FunctionBody,
    bytes: &[u8],
    number: u32,
    needed_memory: u32,
) -> Result<(), BinaryReaderError> {
    let mut locals = body.get_locals_reader()?;
    let mut count = 0;
    for _ in 0..locals.get_count() {
        count += u64::from(locals.read()?.0);
    }
    made.locals_max = made.locals_max.max(count);
    made.body_bytes_max = made.body_bytes_max.max(bytes.len());
    let begin = locals.original_position() - body.range().start;
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
