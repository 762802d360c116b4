//! Signatures of functions: WIT, as text or as bindings generators leave it in modules, told to C++
//! (spore/wasm/wit.cc, which has the other half of the encoding).  Both are foreign: lengths and nesting are
//! limited ahead, and what is read is read on a thread with a stack of its own, as the parser recurses.

use crate::fence::{bytes, fenced};
use std::ffi::c_void;
use wasmparser::{Parser, Payload};
use wit_parser::{
    decoding::decode_world, Function, FunctionKind, InterfaceId, Resolve, Type, TypeDefKind, WorldId, WorldItem, WorldKey,
};

const STATUS_OK: u8 = 0;
const STATUS_INVALID: u8 = 1;
const STATUS_PANIC: u8 = 2;

pub const TEXT_BYTES_MAX: usize = 64 << 10;
const NESTING_MAX: u32 = 64; // brackets in a text
const TYPE_DEPTH_MAX: u32 = 32;
const TYPE_NODES_MAX: u32 = 4096; // of one function: types that name others multiply
const FUNCTIONS_MAX: usize = 10_000;
// A type is told again wherever it is named, with all of its labels.
const CODE_BYTES_MAX: usize = 256 << 10; // of one function
const TOLD_BYTES_MAX: usize = 1 << 20; // of all, with their names
const SECTIONS_BYTES_MAX: usize = 1 << 20; // of a module
// A level of nesting takes two bytes at least, and much less than this by half of them.
const STACK_BYTES: usize = 256 << 20;

/// What guests import to read the fields of a document.
const DOCUMENT: &str = include_str!("../../guests/wit/document.wit");
const TYPE_SECTION: &str = "component-type";
const TEXT_SECTION: &str = "spore:wit";

/// Strings and encodings are valid during the call only.
#[repr(C)]
pub struct Sink {
    env: *mut c_void,
    /// Name of the export, encoded signature.
    function: extern "C" fn(*mut c_void, *const u8, usize, *const u8, usize),
    /// Name of the export, and why no function of that signature can be called.
    refused: extern "C" fn(*mut c_void, *const u8, usize, *const u8, usize),
    error: extern "C" fn(*mut c_void, *const u8, usize),
}

/// The functions that a text declares: a whole document with `package`, or the inside of an interface, or a
/// single `func(...)`, which is called `name` then.
///
/// # Safety
/// `text` and `name` are readable; `sink` is valid.
#[no_mangle]
pub unsafe extern "C" fn spore_wit_of_text(
    text: *const u8,
    text_len: usize,
    name: *const u8,
    name_len: usize,
    sink: *const Sink,
) -> u8 {
    let (text, name) = (bytes(text, text_len), bytes(name, name_len));
    tell(&*sink, || {
        let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_string())?;
        let name = std::str::from_utf8(name).map_err(|_| "the name is not UTF-8".to_string())?;
        of_text(text, name)
    })
}

/// The functions that a module says it exports, in its custom sections.  None: it says nothing.
///
/// # Safety
/// `module` is readable; `sink` is valid.
#[no_mangle]
pub unsafe extern "C" fn spore_wit_of_module(module: *const u8, module_len: usize, sink: *const Sink) -> u8 {
    let module = bytes(module, module_len);
    tell(&*sink, || of_module(module))
}

type Told = Result<Vec<u8>, String>; // why it is refused

#[derive(Default)]
struct Functions {
    all: Vec<(String, Told)>,
    bytes: usize,
}

impl Functions {
    fn push(&mut self, name: String, told: Told) -> Result<(), String> {
        if self.all.len() == FUNCTIONS_MAX {
            return Err(format!("more than {FUNCTIONS_MAX} functions"));
        }
        self.bytes += name.len() + told.as_ref().map_or_else(String::len, Vec::len);
        if self.bytes > TOLD_BYTES_MAX {
            return Err(format!("types that take more than {TOLD_BYTES_MAX} bytes, each told where it is named"));
        }
        self.all.push((name, told));
        Ok(())
    }
}

fn tell(sink: &Sink, read: impl FnOnce() -> Result<Functions, String> + Send) -> u8 {
    let made = fenced(None, || {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, read);
            match thread {
                Ok(thread) => thread.join().ok(),
                Err(error) => Some(Err(format!("no thread to read it on: {error}"))),
            }
        })
    });
    match made {
        None => STATUS_PANIC,
        Some(Err(error)) => {
            (sink.error)(sink.env, error.as_ptr(), error.len());
            STATUS_INVALID
        }
        Some(Ok(functions)) => {
            for (name, told) in &functions.all {
                match told {
                    Ok(code) => (sink.function)(sink.env, name.as_ptr(), name.len(), code.as_ptr(), code.len()),
                    Err(why) => (sink.refused)(sink.env, name.as_ptr(), name.len(), why.as_ptr(), why.len()),
                }
            }
            STATUS_OK
        }
    }
}

// --- text ---------------------------------------------------------------------------------------------

fn of_text(text: &str, name: &str) -> Result<Functions, String> {
    check_text(text)?;
    let mut resolve = Resolve::default();
    let document = resolve.push_source("document.wit", DOCUMENT);
    document.map_err(|error| resolve.render_error(&error))?;
    let begin = text.trim_start();
    if begin.starts_with("package") {
        let package = resolve.push_source("wit", text);
        let package = package.map_err(|error| said(&resolve.render_error(&error), 0))?;
        let package = &resolve.packages[package];
        let mut functions = Functions::default();
        for world in package.worlds.values() {
            exports_of(&resolve, *world, &mut functions)?;
        }
        if package.worlds.is_empty() {
            for interface in package.interfaces.values() {
                functions_of(&resolve, *interface, "", &mut functions)?;
            }
        }
        return Ok(functions);
    }
    let single = begin.starts_with("func") && !begin["func".len()..].trim_start().starts_with(':');
    let given = if single { "%it:" } else { "" };
    let end = if text.trim_end().ends_with([';', '}']) { "" } else { ";" };
    let bytes = if text.contains("type bytes") { "" } else { "type bytes = list<u8>;" };
    // Behind a line of ours, so that columns are those of the text.
    let whole = format!("package spore:given; interface functions {{ {bytes} {given}\n{text}\n{end} }}");
    let package = resolve.push_source("wit", &whole);
    let package = package.map_err(|error| said(&resolve.render_error(&error), 1))?;
    let mut functions = Functions::default();
    for interface in resolve.packages[package].interfaces.values() {
        functions_of(&resolve, *interface, "", &mut functions)?;
    }
    if single {
        for (function, _) in &mut functions.all {
            *function = name.to_string();
        }
    }
    Ok(functions)
}

fn check_text(text: &str) -> Result<(), String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("a text of {} bytes, at most {TEXT_BYTES_MAX} are read", text.len()));
    }
    let mut depth = 0u32;
    for byte in text.bytes() {
        match byte {
            b'<' | b'(' | b'{' => depth += 1,
            b'>' | b')' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return Err(format!("types inside each other more than {NESTING_MAX} times"));
        }
    }
    Ok(())
}

/// The parser draws a picture of the place over several lines; what it says and where is in the first ones.
fn said(text: &str, lines_before: usize) -> String {
    let mut said = String::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(place) = line.strip_prefix("-->") {
            let mut place = place.trim().trim_start_matches("wit:").split(':');
            let number = |part: Option<&str>| part.and_then(|part| part.parse::<usize>().ok()).unwrap_or(0);
            let (row, column) = (number(place.next()), number(place.next()));
            return format!("{said} (line {}, column {column})", row.saturating_sub(lines_before));
        }
        if !said.is_empty() {
            said.push(' ');
        }
        said.push_str(line);
    }
    said
}

// --- modules ------------------------------------------------------------------------------------------

fn of_module(module: &[u8]) -> Result<Functions, String> {
    let mut functions = Functions::default();
    let mut bytes = 0;
    for payload in Parser::new(0).parse_all(module) {
        let section = match payload {
            Ok(Payload::CustomSection(section)) => section,
            Ok(_) => continue,
            Err(error) => return Err(error.to_string()),
        };
        let (name, data) = (section.name(), section.data());
        if name != TEXT_SECTION && !name.starts_with(TYPE_SECTION) {
            continue;
        }
        bytes += data.len();
        if bytes > SECTIONS_BYTES_MAX {
            return Err(format!("sections of more than {SECTIONS_BYTES_MAX} bytes"));
        }
        if name == TEXT_SECTION {
            let text = std::str::from_utf8(data).map_err(|_| format!("its section '{TEXT_SECTION}' is not UTF-8"))?;
            let told = of_text(text, "").map_err(|error| format!("its section '{TEXT_SECTION}': {error}"))?;
            for (name, told) in told.all {
                functions.push(name, told)?;
            }
        } else {
            if data.len() > TEXT_BYTES_MAX {
                return Err(format!("its section '{TYPE_SECTION}' has {} bytes, at most {TEXT_BYTES_MAX} are read", data.len()));
            }
            check_encoding(data)?;
            let (resolve, world) =
                decode_world(data).map_err(|error| format!("its section '{TYPE_SECTION}': {}", said(&format!("{error:#}"), 0)))?;
            exports_of(&resolve, world, &mut functions)?;
        }
    }
    // A library that it was linked with may say the same as it does.
    functions.all.sort_by(|a, b| a.0.cmp(&b.0));
    functions.all.dedup_by(|a, b| a.0 == b.0);
    Ok(functions)
}

/// Strings cross as UTF-8, which is what its bindings have to say: a version, and then 0.
fn check_encoding(section: &[u8]) -> Result<(), String> {
    for payload in Parser::new(0).parse_all(section) {
        if let Ok(Payload::CustomSection(custom)) = payload {
            if custom.name() == "wit-component-encoding" && custom.data().get(1) != Some(&0) {
                return Err("its strings are not UTF-8: make its bindings with that encoding".to_string());
            }
        }
    }
    Ok(())
}

// --- what is in a world -------------------------------------------------------------------------------

fn exports_of(resolve: &Resolve, world: WorldId, functions: &mut Functions) -> Result<(), String> {
    for (key, item) in &resolve.worlds[world].exports {
        match item {
            WorldItem::Function(function) => add(resolve, function, function.name.clone(), functions)?,
            WorldItem::Interface { id, .. } => {
                let prefix = match key {
                    WorldKey::Name(name) => format!("{name}#"),
                    WorldKey::Interface(id) => resolve.id_of(*id).map_or(String::new(), |id| format!("{id}#")),
                };
                functions_of(resolve, *id, &prefix, functions)?;
            }
            WorldItem::Type { .. } => {}
        }
    }
    Ok(())
}

fn functions_of(resolve: &Resolve, interface: InterfaceId, prefix: &str, functions: &mut Functions) -> Result<(), String> {
    for function in resolve.interfaces[interface].functions.values() {
        add(resolve, function, format!("{prefix}{}", function.name), functions)?;
    }
    Ok(())
}

fn add(resolve: &Resolve, function: &Function, name: String, functions: &mut Functions) -> Result<(), String> {
    functions.push(name, encode(resolve, function))
}

fn encode(resolve: &Resolve, function: &Function) -> Told {
    match function.kind {
        FunctionKind::Freestanding => {}
        FunctionKind::AsyncFreestanding => return Err("it is async".to_string()),
        _ => return Err("it belongs to a resource".to_string()),
    }
    let mut encoder = Encoder { resolve, out: Vec::new(), nodes: 0 };
    encoder.count(function.params.len());
    for param in &function.params {
        encoder.text(&param.name);
        encoder.ty(&param.ty, 0)?;
    }
    encoder.optional(function.result.as_ref(), 0)?;
    encoder.check_length()?;
    Ok(encoder.out)
}

/// A type is a tag and what belongs to it; counts and lengths are u32, little-endian.
struct Encoder<'a> {
    resolve: &'a Resolve,
    out: Vec<u8>,
    nodes: u32,
}

impl Encoder<'_> {
    fn count(&mut self, count: usize) {
        self.out.extend_from_slice(&(count as u32).to_le_bytes());
    }
    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.out.extend_from_slice(text.as_bytes());
    }
    fn check_length(&self) -> Result<(), String> {
        if self.out.len() > CODE_BYTES_MAX {
            return Err(format!("its types take more than {CODE_BYTES_MAX} bytes, each told where it is named"));
        }
        Ok(())
    }
    fn optional(&mut self, ty: Option<&Type>, depth: u32) -> Result<(), String> {
        match ty {
            None => self.out.push(0),
            Some(ty) => {
                self.out.push(1);
                self.ty(ty, depth)?;
            }
        }
        Ok(())
    }

    fn ty(&mut self, ty: &Type, depth: u32) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > TYPE_NODES_MAX {
            return Err(format!("its types have more than {TYPE_NODES_MAX} parts"));
        }
        self.check_length()?;
        if depth > TYPE_DEPTH_MAX {
            return Err(format!("types inside each other more than {TYPE_DEPTH_MAX} times"));
        }
        let tag = match ty {
            Type::Bool => 0,
            Type::S8 => 1,
            Type::U8 => 2,
            Type::S16 => 3,
            Type::U16 => 4,
            Type::S32 => 5,
            Type::U32 => 6,
            Type::S64 => 7,
            Type::U64 => 8,
            Type::F32 => 9,
            Type::F64 => 10,
            Type::Char => 11,
            Type::String => 12,
            Type::ErrorContext => return Err("type 'error-context' cannot cross".to_string()),
            Type::Id(id) => return self.defined(&self.resolve.types[*id], depth),
        };
        self.out.push(tag);
        Ok(())
    }

    fn defined(&mut self, def: &wit_parser::TypeDef, depth: u32) -> Result<(), String> {
        let name = def.name.as_deref().unwrap_or("");
        match &def.kind {
            TypeDefKind::Type(ty) => self.ty(ty, depth + 1)?,
            TypeDefKind::List(Type::U8) => self.out.push(13),
            TypeDefKind::List(ty) => {
                self.out.push(14);
                self.ty(ty, depth + 1)?;
            }
            TypeDefKind::Option(ty) => {
                self.out.push(15);
                self.ty(ty, depth + 1)?;
            }
            TypeDefKind::Result(result) => {
                self.out.push(16);
                self.optional(result.ok.as_ref(), depth + 1)?;
                self.optional(result.err.as_ref(), depth + 1)?;
            }
            TypeDefKind::Tuple(tuple) => {
                self.out.push(17);
                self.count(tuple.types.len());
                for ty in &tuple.types {
                    self.ty(ty, depth + 1)?;
                }
            }
            TypeDefKind::Record(record) => {
                self.out.push(18);
                self.text(name);
                self.count(record.fields.len());
                for field in &record.fields {
                    self.text(&field.name);
                    self.ty(&field.ty, depth + 1)?;
                }
            }
            TypeDefKind::Enum(cases) => {
                self.out.push(19);
                self.text(name);
                self.count(cases.cases.len());
                for case in &cases.cases {
                    self.text(&case.name);
                }
            }
            other => return Err(format!("type '{name}' is a {}, which cannot cross", other.as_str())),
        }
        Ok(())
    }
}
