//! Whether a module that was optimised after it was prepared still has all of its state where the prepared
//! form exports it, so that an instance of the one can become one of the other (spore/wasm/peak.cc).

use crate::fence::{bytes, fenced};
use crate::scan::{constant, Outcome, Uses};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use wasmparser::{
    ConstExpr, DataKind, ElementItems, ElementKind, ExternalKind, FuncType, GlobalType, MemoryType,
    Operator, Parser, Payload, TableType, TypeRef,
};

const STATUS_OK: u8 = 0;
const STATUS_UNFIT: u8 = 1;
const STATUS_INVALID: u8 = 2;
const STATUS_PANIC: u8 = 3;

#[repr(C)]
pub struct PeakSink {
    env: *mut c_void,
    error: extern "C" fn(*mut c_void, *const u8, usize),
}

/// Compares two modules that spore_inspect found to be valid.
///
/// # Safety
/// `prepared` and `peak` are readable for their lengths; `sink` is valid.
#[no_mangle]
pub unsafe extern "C" fn spore_check_peak(
    prepared: *const u8,
    prepared_len: usize,
    peak: *const u8,
    peak_len: usize,
    sink: *const PeakSink,
) -> u8 {
    fenced(STATUS_PANIC, || {
        let say = |text: &str| ((*sink).error)((*sink).env, text.as_ptr(), text.len());
        match (Shape::read(bytes(prepared, prepared_len)), Shape::read(bytes(peak, peak_len))) {
            (Ok(prepared), Ok(peak)) => match check(&prepared, &peak) {
                Ok(()) => STATUS_OK,
                Err(text) => {
                    say(&text);
                    STATUS_UNFIT
                }
            },
            (Err(error), _) | (_, Err(error)) => {
                say(error.message());
                STATUS_INVALID
            }
        }
    })
}

type Name<'a> = (&'a str, &'a str);

/// What is declared, and by what names others know it.  Index spaces hold the imported entries first.
#[derive(Default)]
struct Shape<'a> {
    types: Vec<Option<FuncType>>,
    functions: Vec<Entry<'a, u32>>,
    tables: Vec<Entry<'a, TableType>>,
    memories: Vec<Entry<'a, MemoryType>>,
    globals: Vec<Entry<'a, GlobalType>>,
    /// Of the globals that are defined here, in their order.
    values: Vec<ConstExpr<'a>>,
    exports: BTreeMap<&'a str, (Kind, u32)>,
    has_start: bool,
    data: Vec<wasmparser::Data<'a>>,
    /// Without the declared ones, which hold nothing.
    elements: Vec<wasmparser::Element<'a>>,
    uses: Uses,
}

struct Entry<'a, T> {
    ty: T,
    import: Option<Name<'a>>,
    /// The first, in the order of the alphabet, of the names that it is exported under.
    export: Option<&'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Function,
    Table,
    Memory,
    Global,
    Other,
}

impl Kind {
    fn of(kind: ExternalKind) -> Kind {
        match kind {
            ExternalKind::Func | ExternalKind::FuncExact => Kind::Function,
            ExternalKind::Table => Kind::Table,
            ExternalKind::Memory => Kind::Memory,
            ExternalKind::Global => Kind::Global,
            ExternalKind::Tag => Kind::Other,
        }
    }
}

/// A type, whatever it is of.
#[derive(PartialEq)]
enum Type<'a> {
    Function(Option<&'a FuncType>),
    Table(TableType),
    Memory(MemoryType),
    Global(GlobalType),
    Other,
}

impl<'a> Shape<'a> {
    fn read(data: &'a [u8]) -> Outcome<Shape<'a>> {
        let mut shape = Shape::default();
        for payload in Parser::new(0).parse_all(data) {
            shape.read_section(payload?)?;
        }
        let exports: Vec<_> = shape.exports.iter().map(|(&name, &place)| (name, place)).collect();
        for (name, (kind, index)) in exports {
            let at = index as usize;
            let export = match kind {
                Kind::Function => &mut shape.functions[at].export,
                Kind::Table => &mut shape.tables[at].export,
                Kind::Memory => &mut shape.memories[at].export,
                Kind::Global => &mut shape.globals[at].export,
                Kind::Other => continue,
            };
            export.get_or_insert(name);
        }
        Ok(shape)
    }

    fn read_section(&mut self, payload: Payload<'a>) -> Outcome<()> {
        fn own<'a, T>(ty: T) -> Entry<'a, T> {
            Entry { ty, import: None, export: None }
        }
        match payload {
            Payload::TypeSection(reader) => {
                for group in reader {
                    for ty in group?.into_types() {
                        self.types.push(match ty.composite_type.inner {
                            wasmparser::CompositeInnerType::Func(ty) => Some(ty),
                            _ => None,
                        });
                    }
                }
            }
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let import = import?;
                    self.add_import((import.module, import.name), import.ty);
                }
            }
            Payload::FunctionSection(reader) => {
                for ty in reader {
                    self.functions.push(own(ty?));
                }
            }
            Payload::TableSection(reader) => {
                for table in reader {
                    self.tables.push(own(table?.ty));
                }
            }
            Payload::MemorySection(reader) => {
                for memory in reader {
                    self.memories.push(own(memory?));
                }
            }
            Payload::GlobalSection(reader) => {
                for global in reader {
                    let global = global?;
                    self.globals.push(own(global.ty));
                    self.values.push(global.init_expr);
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    let export = export?;
                    self.exports.insert(export.name, (Kind::of(export.kind), export.index));
                }
            }
            Payload::StartSection { .. } => self.has_start = true,
            Payload::ElementSection(reader) => {
                for element in reader {
                    let element = element?;
                    if !matches!(element.kind, ElementKind::Declared) {
                        self.elements.push(element);
                    }
                }
            }
            Payload::DataSection(reader) => {
                for data in reader {
                    self.data.push(data?);
                }
            }
            Payload::CodeSectionEntry(body) => self.uses.read_body(0, &body)?,
            _ => {}
        }
        Ok(())
    }

    fn add_import(&mut self, name: Name<'a>, ty: TypeRef) {
        fn entry<'a, T>(ty: T, name: Name<'a>) -> Entry<'a, T> {
            Entry { ty, import: Some(name), export: None }
        }
        match ty {
            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => self.functions.push(entry(ty, name)),
            TypeRef::Table(ty) => self.tables.push(entry(ty, name)),
            TypeRef::Memory(ty) => self.memories.push(entry(ty, name)),
            TypeRef::Global(ty) => self.globals.push(entry(ty, name)),
            TypeRef::Tag(_) => {}
        }
    }

    /// What a table, or a memory, is known by.
    fn table(&self, index: u32) -> (Option<&'a str>, Option<Name<'a>>) {
        let table = &self.tables[index as usize];
        (table.export, table.import)
    }

    fn memory(&self, index: u32) -> (Option<&'a str>, Option<Name<'a>>) {
        let memory = &self.memories[index as usize];
        (memory.export, memory.import)
    }

    fn function_type(&self, ty: u32) -> Type<'_> {
        Type::Function(self.types.get(ty as usize).and_then(Option::as_ref))
    }

    /// Type, import and first name of what is exported.
    fn exported(&self, kind: Kind, index: u32) -> (Type<'_>, Option<Name<'a>>, Option<&'a str>) {
        let at = index as usize;
        fn with<'a, 'b, T>(entry: &Entry<'a, T>, ty: Type<'b>) -> (Type<'b>, Option<Name<'a>>, Option<&'a str>) {
            (ty, entry.import, entry.export)
        }
        match kind {
            Kind::Function => with(&self.functions[at], self.function_type(self.functions[at].ty)),
            Kind::Table => with(&self.tables[at], Type::Table(self.tables[at].ty)),
            Kind::Memory => with(&self.memories[at], Type::Memory(self.memories[at].ty)),
            Kind::Global => with(&self.globals[at], Type::Global(self.globals[at].ty)),
            Kind::Other => (Type::Other, None, None),
        }
    }

    fn imports(&self) -> Vec<(Name<'a>, Type<'_>)> {
        fn imported<'s, 'a, T>(
            entries: &'s [Entry<'a, T>],
            ty: impl Fn(&'s T) -> Type<'s> + 's,
        ) -> impl Iterator<Item = (Name<'a>, Type<'s>)> + 's {
            entries.iter().filter_map(move |entry| Some((entry.import?, ty(&entry.ty))))
        }
        imported(&self.functions, |&ty| self.function_type(ty))
            .chain(imported(&self.tables, |&ty| Type::Table(ty)))
            .chain(imported(&self.memories, |&ty| Type::Memory(ty)))
            .chain(imported(&self.globals, |&ty| Type::Global(ty)))
            .collect()
    }

    /// The initial value of a global; None: it is imported.
    fn value(&self, global: u32) -> Option<&ConstExpr<'a>> {
        let imported = self.globals.iter().take_while(|global| global.import.is_some()).count();
        self.values.get((global as usize).checked_sub(imported)?)
    }

    fn meaning(&self, expr: &ConstExpr<'a>) -> Outcome<Meaning<'_>> {
        if let Some(value) = constant(expr)? {
            return Ok(Meaning::Bits(value.bits()));
        }
        let mut operators = expr.get_operators_reader();
        let meaning = match operators.read()? {
            Operator::RefNull { .. } => Meaning::Null,
            Operator::RefFunc { function_index } => self.function(function_index),
            Operator::GlobalGet { global_index } => match self.globals[global_index as usize].import {
                Some(import) => Meaning::Import(import),
                None => Meaning::Unknown,
            },
            _ => Meaning::Unknown,
        };
        let ends = matches!(operators.read()?, Operator::End);
        Ok(if ends { meaning } else { Meaning::Unknown })
    }

    fn function(&self, index: u32) -> Meaning<'_> {
        let entry = &self.functions[index as usize];
        Meaning::Function(entry.export, entry.import, self.function_type(entry.ty))
    }

    fn items(&self, element: &wasmparser::Element<'a>) -> Outcome<Vec<Meaning<'_>>> {
        match &element.items {
            ElementItems::Functions(functions) => {
                functions.clone().into_iter().map(|index| Ok(self.function(index?))).collect()
            }
            ElementItems::Expressions(_, exprs) => {
                exprs.clone().into_iter().map(|expr| self.meaning(&expr?)).collect()
            }
        }
    }
}

/// What a constant expression gives, told without indices.
enum Meaning<'a> {
    Bits([u8; 16]),
    Null,
    Import(Name<'a>),
    /// A function that nobody can name is as good as another one of its type: only code of its own module
    /// can tell them apart.
    Function(Option<&'a str>, Option<Name<'a>>, Type<'a>),
    Unknown,
}

impl Meaning<'_> {
    fn is(&self, other: &Meaning) -> bool {
        match (self, other) {
            (Meaning::Bits(a), Meaning::Bits(b)) => a == b,
            (Meaning::Null, Meaning::Null) => true,
            (Meaning::Import(a), Meaning::Import(b)) => a == b,
            (Meaning::Function(a, b, c), Meaning::Function(d, e, f)) => a == d && b == e && c == f,
            _ => false, // what is not known is not the same
        }
    }
}

// --- what must be the same ----------------------------------------------------------------------------

type Check = Result<(), String>;

/// What cannot be read was read before.
fn readable<T>(outcome: Outcome<T>) -> Result<T, String> {
    outcome.map_err(|error| error.message().to_string())
}

fn check(prepared: &Shape, peak: &Shape) -> Check {
    if peak.has_start {
        return Err("it has a start function".into());
    }
    check_exports(prepared, peak)?;
    check_state(peak)?;
    check_uses(prepared, peak)?;
    check_imports(prepared, peak)?;
    check_data(prepared, peak)?;
    check_elements(prepared, peak)
}

fn check_exports(prepared: &Shape, peak: &Shape) -> Check {
    if let Some(name) = prepared.exports.keys().find(|name| !peak.exports.contains_key(*name)) {
        return Err(format!("it does not export '{name}' any more"));
    }
    for (&name, &(kind, index)) in &peak.exports {
        let Some(&(kind_before, index_before)) = prepared.exports.get(name) else {
            return Err(format!("it exports '{name}', too"));
        };
        let (ty, import, first) = peak.exported(kind, index);
        let (ty_before, import_before, first_before) = prepared.exported(kind_before, index_before);
        if ty != ty_before || ty == Type::Other {
            return Err(format!("what it exports as '{name}' is of another type"));
        }
        if import != import_before {
            return Err(format!("what it exports as '{name}' comes from elsewhere"));
        }
        if first != first_before {
            let other = [first, first_before].into_iter().flatten().find(|&other| other != name);
            let one = if Some(name) == first { "two" } else { "one" };
            return Err(format!("'{}' and '{name}' are {one} in it, but not before", other.unwrap_or(name)));
        }
        if kind == Kind::Global {
            check_value(prepared, index_before, peak, index, name)?;
        }
    }
    Ok(())
}

fn check_value(prepared: &Shape, before: u32, peak: &Shape, after: u32, name: &str) -> Check {
    let (Some(before), Some(after)) = (prepared.value(before), peak.value(after)) else {
        return Ok(()); // imported, both
    };
    if readable(peak.meaning(after))?.is(&readable(prepared.meaning(before))?) {
        return Ok(());
    }
    Err(format!("'{name}' begins with another value"))
}

/// All that can change in it can be reached.
fn check_state(peak: &Shape) -> Check {
    fn hidden<T>(entries: &[Entry<T>], changes: impl Fn(&T) -> bool) -> Option<usize> {
        entries.iter().position(|entry| entry.import.is_none() && entry.export.is_none() && changes(&entry.ty))
    }
    let found = [
        (hidden(&peak.globals, |ty| ty.mutable), "mutable global"),
        (hidden(&peak.memories, |_| true), "memory"),
        (hidden(&peak.tables, |_| true), "table"),
    ];
    match found.into_iter().find_map(|(index, what)| Some((index?, what))) {
        Some((index, what)) => Err(format!("it keeps state in {what} {index}, which it does not export")),
        None => Ok(()),
    }
}

/// What of it is constant, by what the prepared form does, stays so: it is neither saved nor put back.
fn check_uses(prepared: &Shape, peak: &Shape) -> Check {
    if !peak.uses.data_dropped.is_empty() || !peak.uses.elements_dropped.is_empty() {
        return Err("it drops segments, instead of setting their flags".into());
    }
    if peak.uses.memory_grow && !prepared.uses.memory_grow {
        return Err("it grows memories, which it did not".into());
    }
    let beside = |after: &BTreeSet<u32>, before: &BTreeSet<u32>| {
        let before: Vec<_> = before.iter().map(|&table| prepared.table(table)).collect();
        after.iter().any(|&table| !before.contains(&peak.table(table)))
    };
    if beside(&peak.uses.tables_written, &prepared.uses.tables_written)
        || beside(&peak.uses.tables_grown, &prepared.uses.tables_grown)
    {
        return Err("it changes a table that it did not".into());
    }
    Ok(())
}

fn check_imports(prepared: &Shape, peak: &Shape) -> Check {
    let before = prepared.imports();
    match peak.imports().into_iter().find(|import| !before.contains(import)) {
        Some(((module, name), _)) => Err(format!("it imports '{module}.{name}', too")),
        None => Ok(()),
    }
}

fn check_data(prepared: &Shape, peak: &Shape) -> Check {
    if peak.data.len() != prepared.data.len() {
        return Err(format!("it has {} data segments instead of {}", peak.data.len(), prepared.data.len()));
    }
    for (number, (after, before)) in peak.data.iter().zip(&prepared.data).enumerate() {
        let same_place = match (&after.kind, &before.kind) {
            (DataKind::Passive, DataKind::Passive) => true,
            (
                DataKind::Active { memory_index: memory, offset_expr: offset },
                DataKind::Active { memory_index: memory_before, offset_expr: offset_before },
            ) => {
                peak.memory(*memory) == prepared.memory(*memory_before)
                    && readable(peak.meaning(offset))?.is(&readable(prepared.meaning(offset_before))?)
            }
            _ => false,
        };
        if !same_place || after.data != before.data {
            return Err(format!("its data segment {number} is another one"));
        }
    }
    Ok(())
}

fn check_elements(prepared: &Shape, peak: &Shape) -> Check {
    let (after, before) = (peak.elements.len(), prepared.elements.len());
    if after != before {
        return Err(format!("it has {after} element segments instead of {before}"));
    }
    for (number, (after, before)) in peak.elements.iter().zip(&prepared.elements).enumerate() {
        let same_place = match (&after.kind, &before.kind) {
            (ElementKind::Passive, ElementKind::Passive) => true,
            (
                ElementKind::Active { table_index: table, offset_expr: offset },
                ElementKind::Active { table_index: table_before, offset_expr: offset_before },
            ) => {
                peak.table(table.unwrap_or(0)) == prepared.table(table_before.unwrap_or(0))
                    && readable(peak.meaning(offset))?.is(&readable(prepared.meaning(offset_before))?)
            }
            _ => false,
        };
        let items = readable(peak.items(after))?;
        let items_before = readable(prepared.items(before))?;
        let same = items.len() == items_before.len() && items.iter().zip(&items_before).all(|(a, b)| a.is(b));
        if !same_place || !same {
            return Err(format!("its element segment {number} is another one"));
        }
    }
    Ok(())
}
