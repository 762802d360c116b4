//! The preparer: rewrites a module once so that all of its state can be held from outside, and tells C++
//! what that state is (spore/wasm/prepare.cc declares the same structures).  What is done to a module and
//! why: docs/decisions/0007-preparer.md.

use crate::fence::{bytes, fenced};
use crate::rewrite::{check, write, Plan};
use crate::scan::{constant, Outcome, Scan};
use std::ffi::c_void;
use wasmparser::{DataKind, MemoryType, ValType};

const STATUS_OK: u8 = 0;
const STATUS_INVALID: u8 = 1;
const STATUS_RESERVED_NAME: u8 = 2;
const STATUS_TOO_LARGE: u8 = 3;
const STATUS_PANIC: u8 = 4;

#[repr(C)]
#[derive(Default)]
pub struct PreparedFacts {
    memory_grow: u8,
    asyncify: u8,
    bodies_rewritten: u32,
    functions_added: u32,
    asyncify_state: u32,
    asyncify_data: u32,
}

#[repr(C)]
pub struct MemoryFact {
    index: u32,
    wide: u8,
    shared: u8,
    bounded: u8,
    page_bytes_log2: u8,
    pages_min: u64,
    pages_max: u64,
}

#[repr(C)]
pub struct TableFact {
    index: u32,
    wide: u8,
    bounded: u8,
    changes: u8,
    written: u8,
    grows: u8,
    elements_min: u64,
    elements_max: u64,
}

#[repr(C)]
pub struct GlobalFact {
    index: u32,
    kind: u8,
    known: u8,
    initial: [u8; 16],
}

/// Where the parts of the answer go.  What is pointed to is valid during the call only.
#[repr(C)]
pub struct PrepareSink {
    env: *mut c_void,
    wasm: extern "C" fn(*mut c_void, *const u8, usize),
    reset_reason: extern "C" fn(*mut c_void, *const u8, usize),
    memory: extern "C" fn(*mut c_void, *const MemoryFact),
    table: extern "C" fn(*mut c_void, *const TableFact),
    global: extern "C" fn(*mut c_void, *const GlobalFact),
    drop_flag: extern "C" fn(*mut c_void, u8, u32),
    table_functions: extern "C" fn(*mut c_void, *const u32, usize),
    lifted: extern "C" fn(*mut c_void, u32, u64, *const u8, usize),
    not_lifted: extern "C" fn(*mut c_void, *const u8, usize),
    error: extern "C" fn(*mut c_void, *const u8, usize),
}

/// Prepares a module that spore_inspect found to be valid and to use no references but funcref.  Of other
/// bytes it makes an error, or what check() refuses, or a panic that stays here.
///
/// # Safety
/// `data` is readable for `len` bytes; `sink` and `facts` are valid.
#[no_mangle]
pub unsafe extern "C" fn spore_prepare(
    data: *const u8,
    len: usize,
    sink: *const PrepareSink,
    facts: *mut PreparedFacts,
) -> u8 {
    fenced(STATUS_PANIC, || {
        let sink = &*sink;
        match prepare(bytes(data, len), sink) {
            Ok(made) => {
                *facts = made;
                STATUS_OK
            }
            Err(failure) => {
                sink.text(sink.error, &failure.text);
                failure.status
            }
        }
    })
}

struct Failure {
    status: u8,
    text: String,
}

impl Failure {
    fn of(status: u8) -> impl FnOnce(wasmparser::BinaryReaderError) -> Failure {
        move |error| Failure { status, text: error.message().to_string() }
    }
}

fn prepare(data: &[u8], sink: &PrepareSink) -> Result<PreparedFacts, Failure> {
    let scan = Scan::read(data).map_err(Failure::of(STATUS_INVALID))?;
    if let Some(name) = scan.reserved_name {
        return Err(Failure { status: STATUS_RESERVED_NAME, text: name.to_string() });
    }
    let lifted = liftable(&scan).map_err(Failure::of(STATUS_INVALID))?;
    let mut plan = Plan::new(&scan, lifted.is_ok());
    let mut written = write_checked(data, &scan, &plan);
    let too_large = matches!(&written, Err(failure) if failure.status == STATUS_TOO_LARGE);
    if too_large && plan.leave_out_table_functions() {
        written = write_checked(data, &scan, &plan);
    }
    let wasm = written?;

    (sink.wasm)(sink.env, wasm.as_ptr(), wasm.len());
    sink.report(&scan, &plan);
    match lifted {
        Ok(lifted) => sink.report_lifted(&lifted),
        Err(reason) => sink.text(sink.not_lifted, reason),
    }
    let asyncify = scan.asyncify_globals();
    let (asyncify_state, asyncify_data) = asyncify.unwrap_or_default();
    Ok(PreparedFacts {
        memory_grow: u8::from(scan.uses.memory_grow),
        asyncify: u8::from(asyncify.is_some()),
        asyncify_state,
        asyncify_data,
        bodies_rewritten: if plan.flags() > 0 { scan.uses.bodies.len() as u32 } else { 0 },
        functions_added: plan.helpers.len() as u32,
    })
}

fn write_checked(data: &[u8], scan: &Scan, plan: &Plan) -> Result<Vec<u8>, Failure> {
    let wasm = write(data, scan, plan).map_err(Failure::of(STATUS_INVALID))?;
    check(&wasm, scan).map_err(Failure::of(STATUS_TOO_LARGE))?;
    Ok(wasm)
}

// --- data segments ------------------------------------------------------------------------------------

struct Lifted<'a> {
    memory: u32,
    offset: u64,
    bytes: &'a [u8],
}

/// The active data segments, if somebody else can write them: all of them, as their order counts, or why
/// not.  One that would trap is left to trap when, and as, it did.
fn liftable<'a>(scan: &Scan<'a>) -> Outcome<Result<Vec<Lifted<'a>>, &'static str>> {
    let mut lifted = Vec::new();
    for data in &scan.data {
        let DataKind::Active { memory_index, offset_expr } = &data.kind else { continue };
        if *memory_index < scan.memories_imported {
            return Ok(Err("a data segment is for an imported memory"));
        }
        let memory = &scan.memories[*memory_index as usize];
        if memory.shared {
            return Ok(Err("a data segment is for a shared memory"));
        }
        let Some(offset) = constant(offset_expr)?.and_then(|value| value.offset()) else {
            return Ok(Err("the offset of a data segment is not a constant"));
        };
        if u128::from(offset) + data.data.len() as u128 > u128::from(memory.initial) << page_bytes_log2(memory) {
            return Ok(Err("a data segment lies outside its memory"));
        }
        lifted.push(Lifted { memory: *memory_index, offset, bytes: data.data });
    }
    Ok(Ok(lifted))
}

fn page_bytes_log2(memory: &MemoryType) -> u8 {
    memory.page_size_log2.unwrap_or(16) as u8
}

// --- what is told -------------------------------------------------------------------------------------

// The value types of globals; spore/wasm/prepare.h has the same list.
fn kind_of(ty: ValType) -> u8 {
    match ty {
        ValType::I32 => 0,
        ValType::I64 => 1,
        ValType::F32 => 2,
        ValType::F64 => 3,
        ValType::V128 => 4,
        ValType::Ref(_) => 5,
    }
}

impl Scan<'_> {
    /// Why a used instance cannot be made as new from outside.
    fn reset_reasons(&self, plan: &Plan) -> Vec<&'static str> {
        let imported_globals = &self.globals[..self.globals_imported as usize];
        let reasons = [
            (self.memories_imported > 0, "imports a memory"),
            (self.tables_imported > 0, "imports a table"),
            (imported_globals.iter().any(|global| global.ty.mutable), "imports a mutable global"),
            (self.memories.iter().any(|memory| memory.shared), "has a shared memory"),
            (
                self.state_globals().any(|(_, global)| matches!(global.ty.content_type, ValType::Ref(_))),
                "has a mutable global that holds a reference",
            ),
            (plan.table_functions_left_out, "has too many functions that its tables may hold"),
        ];
        reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect()
    }
}

impl PrepareSink {
    fn text(&self, to: extern "C" fn(*mut c_void, *const u8, usize), text: &str) {
        to(self.env, text.as_ptr(), text.len());
    }

    fn report(&self, scan: &Scan, plan: &Plan) {
        for reason in scan.reset_reasons(plan) {
            self.text(self.reset_reason, reason);
        }
        for (index, memory) in (0..).zip(&scan.memories).skip(scan.memories_imported as usize) {
            let fact = MemoryFact {
                index,
                wide: u8::from(memory.memory64),
                shared: u8::from(memory.shared),
                bounded: u8::from(memory.maximum.is_some()),
                page_bytes_log2: page_bytes_log2(memory),
                pages_min: memory.initial,
                pages_max: memory.maximum.unwrap_or(0),
            };
            (self.memory)(self.env, &fact);
        }
        for (index, table) in (0..).zip(&scan.tables).skip(scan.tables_imported as usize) {
            let room = table.ty.maximum.is_none_or(|maximum| maximum > table.ty.initial);
            let written = scan.uses.tables_written.contains(&index);
            let fact = TableFact {
                index,
                wide: u8::from(table.ty.table64),
                bounded: u8::from(table.ty.maximum.is_some()),
                // Whoever is given the table can do all that code can.
                changes: u8::from(table.exported || written),
                written: u8::from(written),
                grows: u8::from(room && (table.exported || scan.uses.tables_grown.contains(&index))),
                elements_min: table.ty.initial,
                elements_max: table.ty.maximum.unwrap_or(0),
            };
            (self.table)(self.env, &fact);
        }
        for (index, global) in scan.state_globals() {
            let fact = GlobalFact {
                index,
                kind: kind_of(global.ty.content_type),
                known: u8::from(global.initial.is_some()),
                initial: global.initial.unwrap_or_default(),
            };
            (self.global)(self.env, &fact);
        }
        for &segment in plan.data_flags.keys() {
            (self.drop_flag)(self.env, 0, segment);
        }
        for &segment in plan.element_flags.keys() {
            (self.drop_flag)(self.env, 1, segment);
        }
        (self.table_functions)(self.env, plan.table_functions.as_ptr(), plan.table_functions.len());
    }

    fn report_lifted(&self, lifted: &[Lifted]) {
        for data in lifted {
            (self.lifted)(self.env, data.memory, data.offset, data.bytes.as_ptr(), data.bytes.len());
        }
    }
}
