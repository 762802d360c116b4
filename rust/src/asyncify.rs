//! Asyncify for those functions only that can be on the stack when a program waits.  Binaryen goes over all of a
//! module, so it is given one in which every other body is `unreachable` (reduce), and what it makes of those
//! functions is put into the original (splice), whose other bytes stay as they are.  spore/wasm/asyncify.cc has
//! the other half of what C++ calls.
//!
//! Binaryen reorders and prunes types, and only types: an index of anything else means the same in the original,
//! in what Binaryen made, and in the result.  splice() believes none of that before it has compared.

use crate::fence::{bytes, fenced};
use crate::rewrite::{check_bodies, rank, replaced, Additions, Entries};
use crate::scan::{constant, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::fmt::Display;
use wasm_encoder::{
    BlockType as ToBlockType, CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, FunctionSection,
    GlobalSection, GlobalType as ToGlobalType, Instruction, Module, NameMap, NameSection, RawSection,
    TypeSection, ValType as ToValType,
};
use wasmparser::{
    BinaryReaderError, BlockType, CompositeInnerType, DataKind, DataSectionReader, ElementKind,
    Export, ExternalKind, FuncType, FunctionBody, Global, GlobalType, KnownCustom, Name, NameSectionReader,
    Operator, Parser, Payload, RefType, SubType, TypeRef, ValType, Validator, WasmFeatures,
};

const STATUS_OK: u8 = 0;
/// The module cannot be read.
const STATUS_INVALID: u8 = 1;
/// It exports one of asyncify's names.
const STATUS_RESERVED_NAME: u8 = 2;
/// The list of functions is none of this module.
const STATUS_FUNCTIONS: u8 = 3;
/// What Binaryen made is none of the reduced module.
const STATUS_MISFIT: u8 = 4;
const STATUS_PANIC: u8 = 5;

/// What asyncify adds behind the original's functions, globals and exports.
const ADDED_FUNCTIONS: u32 = 5;
const ADDED_GLOBALS: u32 = 2;
const ADDED_EXPORTS: [(&str, &[ValType], &[ValType]); ADDED_FUNCTIONS as usize] = [
    ("asyncify_start_unwind", &[ValType::I32], &[]),
    ("asyncify_stop_unwind", &[], &[]),
    ("asyncify_start_rewind", &[ValType::I32], &[]),
    ("asyncify_stop_rewind", &[], &[]),
    ("asyncify_get_state", &[], &[ValType::I32]),
];

// --- the C interface ----------------------------------------------------------------------------------

/// Where the parts of the answer go.  What is pointed to is valid during the call only.
#[repr(C)]
pub struct AsyncifySink {
    env: *mut c_void,
    wasm: extern "C" fn(*mut c_void, *const u8, usize),
    error: extern "C" fn(*mut c_void, *const u8, usize),
}

impl AsyncifySink {
    fn tell(&self, outcome: Outcome<Vec<u8>>) -> u8 {
        match outcome {
            Ok(wasm) => {
                (self.wasm)(self.env, wasm.as_ptr(), wasm.len());
                STATUS_OK
            }
            Err(failure) => {
                (self.error)(self.env, failure.text.as_ptr(), failure.text.len());
                failure.status
            }
        }
    }
}

/// # Safety
/// `data` is readable for `len` bytes, `functions` for `count` numbers; `sink` is valid.
#[no_mangle]
pub unsafe extern "C" fn spore_reduce_for_asyncify(
    data: *const u8,
    len: usize,
    functions: *const u32,
    count: usize,
    sink: *const AsyncifySink,
) -> u8 {
    fenced(STATUS_PANIC, || (*sink).tell(reduce(bytes(data, len), numbers(functions, count))))
}

/// # Safety
/// `data` is readable for `len` bytes, `rewritten` for `rewritten_len`, `functions` for `count` numbers; `sink`
/// is valid.
#[no_mangle]
pub unsafe extern "C" fn spore_splice_asyncified(
    data: *const u8,
    len: usize,
    rewritten: *const u8,
    rewritten_len: usize,
    functions: *const u32,
    count: usize,
    sink: *const AsyncifySink,
) -> u8 {
    fenced(STATUS_PANIC, || {
        let rewritten = bytes(rewritten, rewritten_len);
        (*sink).tell(splice(bytes(data, len), rewritten, numbers(functions, count)))
    })
}

/// As fence::bytes().
unsafe fn numbers<'a>(data: *const u32, count: usize) -> &'a [u32] {
    if count == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, count)
    }
}

struct Failure {
    status: u8,
    text: String,
}

type Outcome<T> = Result<T, Failure>;

impl Failure {
    fn unreadable(error: BinaryReaderError) -> Failure {
        Failure { status: STATUS_INVALID, text: error.to_string() }
    }
}

/// How what Binaryen made does not fit.
struct Misfit(String);

type Fit<T> = Result<T, Misfit>;

impl From<BinaryReaderError> for Misfit {
    fn from(error: BinaryReaderError) -> Misfit {
        Misfit(error.to_string())
    }
}

impl From<Misfit> for Failure {
    fn from(misfit: Misfit) -> Failure {
        Failure { status: STATUS_MISFIT, text: misfit.0 }
    }
}

fn expect<T: PartialEq + Display>(what: &str, found: T, wanted: T) -> Fit<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Misfit(format!("it has {found} {what} where {wanted} should be")))
}

// --- what a module is ---------------------------------------------------------------------------------

/// Of a module what both halves look at.  Index spaces hold the imported entries first.
#[derive(Default)]
struct Shape<'a> {
    /// None: not a plain_function().
    types: Vec<Option<FuncType>>,
    functions_imported: Vec<(&'a str, &'a str)>,
    /// The type of each.
    functions: Vec<u32>,
    tables: Space,
    memories: Space,
    tags: Space,
    globals_imported: u32,
    globals: Vec<GlobalType>,
    /// Of those that are defined.
    global_values: Vec<Option<Value>>,
    exports: Vec<Export<'a>>,
    has_start: bool,
    /// Without those that are only declared: Binaryen makes them anew.
    elements: u32,
    data: u32,
    bodies: Vec<FunctionBody<'a>>,
    names: Option<NameSectionReader<'a>>,
}

#[derive(Default)]
struct Space {
    imported: u32,
    defined: u32,
}

impl<'a> Shape<'a> {
    fn read(data: &'a [u8]) -> Result<Shape<'a>, BinaryReaderError> {
        let mut shape = Shape::default();
        for payload in Parser::new(0).parse_all(data) {
            shape.read_payload(payload?)?;
        }
        Ok(shape)
    }

    fn read_payload(&mut self, payload: Payload<'a>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(reader) => {
                for group in reader {
                    let group = group?;
                    let apart = group.is_explicit_rec_group(); // not what it would be by itself
                    self.types.extend(group.into_types().map(|ty| plain_function(ty).filter(|_| !apart)));
                }
            }
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let import = import?;
                    match import.ty {
                        TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                            self.functions_imported.push((import.module, import.name));
                            self.functions.push(ty);
                        }
                        TypeRef::Global(ty) => {
                            self.globals_imported += 1;
                            self.globals.push(ty);
                        }
                        TypeRef::Table(_) => self.tables.imported += 1,
                        TypeRef::Memory(_) => self.memories.imported += 1,
                        TypeRef::Tag(_) => self.tags.imported += 1,
                    }
                }
            }
            Payload::FunctionSection(reader) => {
                for ty in reader {
                    self.functions.push(ty?);
                }
            }
            Payload::TableSection(reader) => self.tables.defined += reader.count(),
            Payload::MemorySection(reader) => self.memories.defined += reader.count(),
            Payload::TagSection(reader) => self.tags.defined += reader.count(),
            Payload::GlobalSection(reader) => {
                for global in reader {
                    let Global { ty, init_expr } = global?;
                    self.globals.push(ty);
                    self.global_values.push(constant(&init_expr)?);
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    self.exports.push(export?);
                }
            }
            Payload::StartSection { .. } => self.has_start = true,
            Payload::ElementSection(reader) => {
                for element in reader {
                    self.elements += u32::from(!matches!(element?.kind, ElementKind::Declared));
                }
            }
            Payload::DataSection(reader) => self.data += reader.count(),
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    self.names = Some(names);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn imported(&self) -> u32 {
        self.functions_imported.len() as u32
    }

    fn function_type(&self, function: u32) -> Option<&FuncType> {
        let ty = *self.functions.get(function as usize)?;
        self.types.get(ty as usize)?.as_ref()
    }

    fn body(&self, function: u32) -> Option<&FunctionBody<'a>> {
        self.bodies.get(function.checked_sub(self.imported())? as usize)
    }

    /// Whether these functions of this module can be asyncified.
    fn check_request(&self, functions: &[u32]) -> Outcome<()> {
        let taken = |export: &&Export| ADDED_EXPORTS.iter().any(|(name, ..)| *name == export.name);
        if let Some(export) = self.exports.iter().find(taken) {
            return Err(Failure { status: STATUS_RESERVED_NAME, text: export.name.to_string() });
        }
        let wrong = |text| Err(Failure { status: STATUS_FUNCTIONS, text });
        if let Some(pair) = functions.windows(2).find(|pair| pair[0] >= pair[1]) {
            return wrong(format!("{} stands before {} in the list of functions", pair[0], pair[1]));
        }
        match functions.iter().find(|function| self.body(**function).is_none()) {
            Some(function) if *function < self.imported() => wrong(format!("function {function} is imported")),
            Some(function) => wrong(format!("there is no function {function}, but {}", self.functions.len())),
            None => Ok(()),
        }
    }
}

/// A function type as the second version of WebAssembly has them, which wasm-opt is held to.  No index is in it, so
/// it means the same in every module.
fn plain_function(ty: SubType) -> Option<FuncType> {
    let composite = ty.composite_type;
    let described = composite.descriptor_idx.is_some() || composite.describes_idx.is_some();
    if !ty.is_final || ty.supertype_idx.is_some() || composite.shared || described {
        return None;
    }
    match composite.inner {
        CompositeInnerType::Func(ty) => (encoded(ty.params()).and(encoded(ty.results()))).map(|_| ty),
        _ => None,
    }
}

fn encoded(values: &[ValType]) -> Option<Vec<ToValType>> {
    let encoded = |value: &ValType| match *value {
        ValType::I32 => Some(ToValType::I32),
        ValType::I64 => Some(ToValType::I64),
        ValType::F32 => Some(ToValType::F32),
        ValType::F64 => Some(ToValType::F64),
        ValType::V128 => Some(ToValType::V128),
        ValType::Ref(RefType::FUNCREF) => Some(ToValType::FUNCREF),
        ValType::Ref(RefType::EXTERNREF) => Some(ToValType::EXTERNREF),
        ValType::Ref(_) => None,
    };
    values.iter().map(encoded).collect()
}

// --- the reduced module -------------------------------------------------------------------------------

/// The module without what asyncify does not look at: other bodies, data, custom sections, the start function.
/// Each function is named after its index, so that it can be found again.
fn reduce(data: &[u8], functions: &[u32]) -> Outcome<Vec<u8>> {
    let shape = Shape::read(data).map_err(Failure::unreadable)?;
    shape.check_request(functions)?;
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(data) {
        let payload = payload.map_err(Failure::unreadable)?;
        let Some((id, range)) = payload.as_section() else { continue };
        match payload {
            Payload::CustomSection(_) | Payload::StartSection { .. } => {}
            Payload::CodeSectionStart { .. } => {
                module.section(&reduced_code(&shape, functions));
            }
            Payload::DataSection(reader) => {
                module.section(&reduced_data(reader).map_err(Failure::unreadable)?);
            }
            _ => {
                module.section(&RawSection { id, data: &data[range] });
            }
        }
    }
    module.section(&numbers_as_names(shape.functions.len() as u32));
    Ok(module.finish())
}

fn reduced_code(shape: &Shape, functions: &[u32]) -> CodeSection {
    const UNREACHABLE: [u8; 3] = [0, 0x00, 0x0B]; // no locals; unreachable; end
    let mut section = CodeSection::new();
    for (function, body) in (shape.imported()..).zip(&shape.bodies) {
        let listed = functions.binary_search(&function).is_ok();
        section.raw(if listed { body.as_bytes() } else { &UNREACHABLE });
    }
    section
}

fn reduced_data(reader: DataSectionReader) -> Result<DataSection, BinaryReaderError> {
    let mut section = DataSection::new();
    for data in reader {
        match data?.kind {
            DataKind::Active { memory_index, offset_expr } => {
                let mut reader = offset_expr.get_binary_reader();
                let expr = reader.read_bytes(reader.bytes_remaining())?;
                let offset = ConstExpr::raw(expr[..expr.len() - 1].iter().copied()); // it writes the `end` itself
                section.active(memory_index, &offset, []);
            }
            DataKind::Passive => {
                section.passive([]);
            }
        }
    }
    Ok(section)
}

fn name_of(function: u32) -> String {
    format!("f{function}")
}

fn numbers_as_names(functions: u32) -> NameSection {
    let mut map = NameMap::new();
    (0..functions).for_each(|function| map.append(function, &name_of(function)));
    let mut section = NameSection::new();
    section.functions(&map);
    section
}

// --- the spliced module -------------------------------------------------------------------------------

/// The original, with what Binaryen made of the listed functions, and what it added.
fn splice(data: &[u8], rewritten: &[u8], functions: &[u32]) -> Outcome<Vec<u8>> {
    let original = Shape::read(data).map_err(Failure::unreadable)?;
    original.check_request(functions)?;
    let made = read_rewritten(rewritten)?;
    check_fit(&original, &made)?;

    let mut types = Types::new(&original, &made);
    let mut bodies = BTreeMap::new();
    let added = original.functions.len() as u32..made.functions.len() as u32;
    for function in functions.iter().copied().chain(added.clone()) {
        let body = made.body(function).ok_or_else(|| Misfit(format!("function {function} has no body")))?;
        bodies.insert(function, types.map_body(rewritten, body)?);
    }
    let additions = additions(&original, &made, types)?;
    let wasm = write(data, &original, &bodies, additions).map_err(Failure::unreadable)?;
    let changed = |number| bodies.contains_key(&(original.imported() + number));
    check_bodies(&wasm, changed).map_err(|error| Misfit(format!("put together, it is not valid: {error}")))?;
    Ok(wasm)
}

fn read_rewritten(rewritten: &[u8]) -> Fit<Shape<'_>> {
    // No more than wasm-opt is told to know.  So of all instructions only blocks and call_indirect name types.
    let features = WasmFeatures::WASM2 | WasmFeatures::EXTENDED_CONST;
    let valid = Validator::new_with_features(features).validate_all(rewritten);
    valid.map_err(|error| Misfit(format!("it is not valid: {error}")))?;
    Ok(Shape::read(rewritten)?)
}

/// Whether every index but those of types means the same in both.
fn check_fit(original: &Shape, made: &Shape) -> Fit<()> {
    expect("imported functions", made.imported(), original.imported())?;
    expect("functions", made.functions.len(), original.functions.len() + ADDED_FUNCTIONS as usize)?;
    for (function, import) in (0..).zip(&original.functions_imported) {
        if made.functions_imported.get(function) != Some(import) {
            return Err(Misfit(format!("function {function} is not the import {}.{}", import.0, import.1)));
        }
    }
    for function in 0..original.functions.len() as u32 {
        let ty = original.function_type(function);
        if ty.is_none() || made.function_type(function) != ty {
            return Err(Misfit(format!("function {function} has another type than it had")));
        }
    }
    check_names(original, made)?;
    check_globals(original, made)?;
    let spaces = [
        ("tables", &original.tables, &made.tables),
        ("memories", &original.memories, &made.memories),
        ("tags", &original.tags, &made.tags),
    ];
    for (what, wanted, found) in spaces {
        expect(&format!("imported {what}"), found.imported, wanted.imported)?;
        expect(what, found.defined, wanted.defined)?;
    }
    expect("element segments", made.elements, original.elements)?;
    expect("data segments", made.data, original.data)?;
    if made.has_start {
        return Err(Misfit("it has a start function".into()));
    }
    check_exports(original, made)
}

/// That each function is where it was.
fn check_names(original: &Shape, made: &Shape) -> Fit<()> {
    let mut named = vec![false; original.functions.len()];
    for subsection in made.names.clone().into_iter().flatten() {
        let Name::Function(map) = subsection? else { continue };
        for naming in map {
            let naming = naming?;
            let Some(seen) = named.get_mut(naming.index as usize) else { continue };
            if naming.name != name_of(naming.index) {
                return Err(Misfit(format!("function {} has the name '{}'", naming.index, naming.name)));
            }
            *seen = true;
        }
    }
    match named.iter().position(|seen| !seen) {
        Some(function) => Err(Misfit(format!("function {function} has no name"))),
        None => Ok(()),
    }
}

fn check_globals(original: &Shape, made: &Shape) -> Fit<()> {
    let before = original.globals.len();
    expect("imported globals", made.globals_imported, original.globals_imported)?;
    expect("globals", made.globals.len(), before + ADDED_GLOBALS as usize)?;
    let differing = original.globals.iter().zip(&made.globals).position(|(wanted, found)| wanted != found);
    if let Some(global) = differing {
        return Err(Misfit(format!("global {global} has another type than it had")));
    }
    let state = GlobalType { content_type: ValType::I32, mutable: true, shared: false };
    let values = made.global_values.iter().rev().take(ADDED_GLOBALS as usize);
    let zeros = values.filter(|value| matches!(value, Some(Value::I32(0)))).count();
    if made.globals.iter().skip(before).any(|ty| *ty != state) || zeros != ADDED_GLOBALS as usize {
        return Err(Misfit("the globals that it adds are not asyncify's".into()));
    }
    Ok(())
}

fn check_exports(original: &Shape, made: &Shape) -> Fit<()> {
    expect("exports", made.exports.len(), original.exports.len() + ADDED_EXPORTS.len())?;
    let exports: BTreeMap<&str, &Export> = made.exports.iter().map(|export| (export.name, export)).collect();
    for wanted in &original.exports {
        let same = |found: &&Export| found.kind == wanted.kind && found.index == wanted.index;
        if !exports.get(wanted.name).is_some_and(same) {
            return Err(Misfit(format!("its export '{}' is not the module's", wanted.name)));
        }
    }
    Ok(())
}

/// The functions that asyncify added, as ADDED_EXPORTS has them: all, and each once.
fn added_exports(original: &Shape, made: &Shape) -> Fit<[u32; ADDED_FUNCTIONS as usize]> {
    let first = original.functions.len() as u32;
    let mut indices = [0; ADDED_FUNCTIONS as usize];
    for (index, (name, params, results)) in indices.iter_mut().zip(ADDED_EXPORTS) {
        let own = |export: &&Export| {
            let ty = made.function_type(export.index);
            export.name == name
                && export.kind == ExternalKind::Func
                && export.index >= first
                && ty.is_some_and(|ty| ty.params() == params && ty.results() == results)
        };
        let Some(export) = made.exports.iter().find(own) else {
            return Err(Misfit(format!("'{name}' is not a function that it added")));
        };
        *index = export.index;
    }
    expect("functions of asyncify", BTreeSet::from(indices).len(), indices.len())?;
    Ok(indices)
}

/// What Binaryen's types are in the original, behind which stand those that it lacks.
struct Types<'a> {
    made: &'a [Option<FuncType>],
    known: BTreeMap<FuncType, u32>,
    next: u32,
    added: TypeSection,
}

impl<'a> Types<'a> {
    fn new(original: &Shape, made: &'a Shape) -> Types<'a> {
        let mut known = BTreeMap::new();
        for (index, ty) in (0..).zip(&original.types) {
            ty.iter().for_each(|ty| _ = known.entry(ty.clone()).or_insert(index));
        }
        Types { made: &made.types, known, next: original.types.len() as u32, added: TypeSection::new() }
    }

    fn map(&mut self, index: u32) -> Fit<u32> {
        let strange = || Misfit(format!("type {index} is none that asyncified code can need"));
        let ty = self.made.get(index as usize).and_then(Option::as_ref).ok_or_else(strange)?;
        if let Some(known) = self.known.get(ty) {
            return Ok(*known);
        }
        let (params, results) = encoded(ty.params()).zip(encoded(ty.results())).ok_or_else(strange)?;
        self.added.ty().function(params, results);
        self.known.insert(ty.clone(), self.next);
        self.next += 1;
        Ok(self.next - 1)
    }

    fn map_block(&mut self, index: u32) -> Fit<ToBlockType> {
        Ok(ToBlockType::FunctionType(self.map(index)?))
    }

    /// A body of `rewritten`, byte by byte but for types.  (wasm_encoder::reencode would do it too, but is a feature
    /// that nothing else wants, and writes all of it anew.)
    fn map_body(&mut self, rewritten: &[u8], body: &FunctionBody) -> Fit<Vec<u8>> {
        replaced(rewritten, body, |op| {
            let mapped = match *op {
                Operator::Block { blockty: BlockType::FuncType(ty) } => Instruction::Block(self.map_block(ty)?),
                Operator::Loop { blockty: BlockType::FuncType(ty) } => Instruction::Loop(self.map_block(ty)?),
                Operator::If { blockty: BlockType::FuncType(ty) } => Instruction::If(self.map_block(ty)?),
                Operator::CallIndirect { type_index, table_index } => {
                    Instruction::CallIndirect { type_index: self.map(type_index)?, table_index }
                }
                _ => return Ok(None),
            };
            Ok(Some(vec![mapped]))
        })
    }
}

fn additions(original: &Shape, made: &Shape, mut types: Types) -> Fit<Additions> {
    let mut functions = FunctionSection::new();
    for ty in made.functions.iter().skip(original.functions.len()) {
        functions.function(types.map(*ty)?);
    }
    let mut globals = GlobalSection::new();
    let state = ToGlobalType { val_type: ToValType::I32, mutable: true, shared: false };
    (0..ADDED_GLOBALS).for_each(|_| _ = globals.global(state, &ConstExpr::i32_const(0)));
    let mut exports = ExportSection::new();
    for ((name, ..), index) in ADDED_EXPORTS.iter().zip(added_exports(original, made)?) {
        exports.export(name, ExportKind::Func, index);
    }
    Ok(Additions::new([
        Entries::of(&types.added),
        Entries::of(&functions),
        Entries::of(&globals),
        Entries::of(&exports),
    ]))
}

fn write(
    data: &[u8],
    original: &Shape,
    bodies: &BTreeMap<u32, Vec<u8>>,
    mut additions: Additions,
) -> Result<Vec<u8>, BinaryReaderError> {
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(data) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else { continue };
        additions.add_missing(rank(id), &mut module);
        match payload {
            // It tells offsets in the code as it was.
            Payload::CustomSection(section) if is_dwarf(section.name()) => {}
            Payload::CodeSectionStart { .. } => {
                module.section(&spliced_code(original, bodies));
            }
            _ => additions.copy(id, &data[range], &mut module)?,
        }
    }
    additions.add_missing(u8::MAX, &mut module);
    Ok(module.finish())
}

fn is_dwarf(name: &str) -> bool {
    name.starts_with(".debug_") || name == "sourceMappingURL" || name == "external_debug_info"
}

fn spliced_code(original: &Shape, bodies: &BTreeMap<u32, Vec<u8>>) -> CodeSection {
    let mut section = CodeSection::new();
    for (function, body) in (original.imported()..).zip(&original.bodies) {
        section.raw(bodies.get(&function).map_or(body.as_bytes(), Vec::as_slice));
    }
    for (_, body) in bodies.range(original.functions.len() as u32..) {
        section.raw(body);
    }
    section
}
