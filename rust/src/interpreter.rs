//! The interpreter, wasmi, behind a C interface (spore/engine/interpreter.h declares the same structures): modules
//! whose functions are translated when they are first called, over memories that the C++ side provides.
//!
//! A store, with all that is in it, is used by one thread at a time.  While a host function runs, what it asks of
//! its store goes by the Caller that wasmi gave to it: `Store::caller`.

use crate::fence::{bytes, fenced};
use crate::interpretable::{features, interpretable, too_many_slots, Interpretable, MODULE, PAGE};
use std::ffi::c_void;
use std::mem::{size_of, transmute};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use wasmi::errors::{ErrorKind, MemoryError, TableError};
use wasmi::{
    AsContextMut, Caller, CompilationMode, Config, CustomFuelCosts, Engine, Error, Extern, ExternType, Func, FuncType, Global,
    Instance, Memory, MemoryType, Module, Nullable, Ref, ResourceLimiter, ResumableCall, StoreContextMut, Table, Val,
    ValType, F32, F64, V128,
};
use wasmi_core::LimiterError;

/// Fuel between two looks at the deadline: some hundred microseconds.
static SLICE: AtomicU64 = AtomicU64::new(100_000);

fn slice() -> u64 {
    SLICE.load(Ordering::Relaxed)
}

/// For tests, of calls that go on after each few instructions; of the whole process.
#[no_mangle]
pub extern "C" fn spore_interpreted_set_slice(fuel: u64) {
    SLICE.store(fuel.max(1), Ordering::Relaxed);
}

/// Longer modules are not linked to others here.
const LINKED_BYTES_MAX: usize = 1024 * 1024;

// --- what both sides know ---------------------------------------------------------------------------------

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    data: *const u8,
    size: usize,
}

impl Text {
    fn of(bytes: &[u8]) -> Text {
        Text { data: bytes.as_ptr(), size: bytes.len() }
    }
}

/// A value as an unchecked call has it: the bits, low bytes first.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct RawValue([u8; 16]);

#[repr(C)]
pub struct Item {
    module: Text,
    name: Text,
    kind: u8,
    params: Text, // ValType numbers
    results: Text,
}

#[repr(C)]
pub struct Failure {
    what: u8,
    trap: u8,
    message_bytes: u16,
    message: [u8; 500],
}

const FAILED_TRAP: u8 = 1; // `trap` says which
const FAILED_STOPPED: u8 = 2; // a callback said so, and knows why
const FAILED_ERROR: u8 = 3; // `message`
const FAILED_INVALID: u8 = 4;
const FAILED_UNSUPPORTED: u8 = 5;
const FAILED_PANIC: u8 = 6;

const KIND_FUNCTION: u8 = 0;
const KIND_GLOBAL: u8 = 1;
const KIND_TABLE: u8 = 2;
const KIND_MEMORY: u8 = 3;

/// What a memory is to be.
#[repr(C)]
pub struct NewMemory {
    index: u32,
    is_64: bool,
    page_bytes: u64,
    bytes_min: u64,
    bytes_max: u64, // u64::MAX: no limit of its own
}

/// Where it is.
#[repr(C)]
pub struct MadeMemory {
    base: *mut u8,
    capacity: u64,
    bytes: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Host {
    env: *mut c_void,
    /// A range into which zeros may be written, `bytes` of them.
    new_memory: unsafe extern "C" fn(*mut c_void, *const NewMemory, *mut MadeMemory) -> bool,
    /// All of them were filled with zeros: now they become what they are to be.
    memories_made: unsafe extern "C" fn(*mut c_void) -> bool,
    /// The memory at that base may grow to so many bytes, which are accessible from now on.
    grow_memory: unsafe extern "C" fn(*mut c_void, *mut u8, u64) -> bool,
    call: unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void, *mut RawValue) -> bool,
    /// A slice of a call is over: whether it may go on.
    go_on: unsafe extern "C" fn(*mut c_void) -> bool,
    table_elements_max: u64,
    tables_max: u32,
    memories_max: u32,
    instances_max: u32,
    counts_fuel: bool,
}
unsafe impl Send for Host {}
unsafe impl Sync for Host {}

fn type_number(ty: ValType) -> u8 {
    match ty {
        ValType::I32 => 0,
        ValType::I64 => 1,
        ValType::F32 => 2,
        ValType::F64 => 3,
        ValType::V128 => 4,
        ValType::FuncRef => 5,
        ValType::ExternRef => 6,
    }
}

fn type_of_number(number: u8) -> Option<ValType> {
    Some(match number {
        0 => ValType::I32,
        1 => ValType::I64,
        2 => ValType::F32,
        3 => ValType::F64,
        4 => ValType::V128,
        5 => ValType::FuncRef,
        _ => return None,
    })
}

fn kind_number(kind: wasmparser::ExternalKind) -> u8 {
    match kind {
        wasmparser::ExternalKind::Global => KIND_GLOBAL,
        wasmparser::ExternalKind::Table => KIND_TABLE,
        wasmparser::ExternalKind::Memory => KIND_MEMORY,
        _ => KIND_FUNCTION,
    }
}

fn kind_of(ty: &ExternType) -> u8 {
    match ty {
        ExternType::Func(_) => KIND_FUNCTION,
        ExternType::Global(_) => KIND_GLOBAL,
        ExternType::Table(_) => KIND_TABLE,
        ExternType::Memory(_) => KIND_MEMORY,
    }
}

// A handle is the number of its store and its own: as a number it can cross, be compared, and come back.
const _: () = assert!(size_of::<Func>() == 8 && size_of::<Global>() == 8 && size_of::<Table>() == 8 && size_of::<Memory>() == 8);

fn number_of(function: Func) -> u64 {
    unsafe { transmute(function) }
}
/// # Safety
/// number_of() gave it.
unsafe fn function_of(number: u64) -> Nullable<Func> {
    match number {
        0 => Nullable::Null,
        _ => Nullable::Val(transmute::<u64, Func>(number)),
    }
}

impl RawValue {
    fn new(low: u64) -> RawValue {
        let mut raw = [0; 16];
        raw[..8].copy_from_slice(&low.to_le_bytes());
        RawValue(raw)
    }
    fn low(&self) -> u64 {
        u64::from_le_bytes(self.0[..8].try_into().unwrap())
    }
    fn from_val(val: &Val) -> RawValue {
        match val {
            Val::I32(value) => RawValue::new(u64::from(*value as u32)),
            Val::I64(value) => RawValue::new(*value as u64),
            Val::F32(value) => RawValue::new(u64::from(value.to_bits())),
            Val::F64(value) => RawValue::new(value.to_bits()),
            Val::V128(value) => RawValue(value.as_u128().to_le_bytes()),
            Val::FuncRef(Nullable::Val(function)) => RawValue::new(number_of(*function)),
            Val::FuncRef(Nullable::Null) | Val::ExternRef(_) => RawValue::new(0),
        }
    }
    unsafe fn to_val(self, ty: ValType) -> Val {
        match ty {
            ValType::I32 => Val::I32(self.low() as i32),
            ValType::I64 => Val::I64(self.low() as i64),
            ValType::F32 => Val::F32(F32::from_bits(self.low() as u32)),
            ValType::F64 => Val::F64(F64::from_bits(self.low())),
            ValType::V128 => Val::V128(V128::from(u128::from_le_bytes(self.0))),
            ValType::FuncRef => Val::FuncRef(function_of(self.low())),
            ValType::ExternRef => Val::ExternRef(Nullable::Null),
        }
    }
}

impl Failure {
    fn set(&mut self, what: u8, message: &str) {
        self.what = what;
        let mut len = message.len().min(self.message.len());
        while !message.is_char_boundary(len) {
            len -= 1;
        }
        self.message[..len].copy_from_slice(&message.as_bytes()[..len]);
        self.message_bytes = len as u16;
    }
}

/// Runs `body`, which gives what went wrong.
fn told(failure: *mut Failure, body: impl FnOnce() -> Result<(), Stop>) -> bool {
    let answer = fenced(None, || Some(body()));
    let failure = unsafe { &mut *failure };
    match answer {
        Some(Ok(())) => return true,
        Some(Err(Stop::Trap(code))) => {
            failure.set(FAILED_TRAP, "");
            failure.trap = code;
        }
        Some(Err(Stop::OutOfFuelGrowing)) => {
            failure.set(FAILED_TRAP, "in the middle of a growth");
            failure.trap = OUT_OF_FUEL;
        }
        Some(Err(Stop::Host)) => failure.set(FAILED_STOPPED, ""),
        Some(Err(Stop::Other(what, message))) => failure.set(what, &message),
        None => failure.set(FAILED_PANIC, "the interpreter failed"),
    }
    false
}

enum Stop {
    Trap(u8),
    /// With a memory that has its pages, but not their length.
    OutOfFuelGrowing,
    Host,
    Other(u8, String),
}

const OUT_OF_FUEL: u8 = 10; // wasmi's number

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        if let Some(code) = error.as_trap_code() {
            return Stop::Trap(code as u8);
        }
        match error.kind() {
            ErrorKind::Host(_) => Stop::Host,
            ErrorKind::Table(TableError::InitOutOfBounds) => Stop::Trap(wasmi::TrapCode::TableOutOfBounds as u8),
            ErrorKind::Memory(MemoryError::OutOfBoundsAccess) => Stop::Trap(wasmi::TrapCode::MemoryOutOfBounds as u8),
            ErrorKind::Translation(_) | ErrorKind::Ir(_) => Stop::Other(FAILED_UNSUPPORTED, error.to_string()),
            ErrorKind::Instantiation(wasmi::errors::InstantiationError::ElementSegmentDoesNotFit { .. }) => {
                Stop::Trap(wasmi::TrapCode::TableOutOfBounds as u8)
            }
            _ => Stop::Other(FAILED_ERROR, error.to_string()),
        }
    }
}

// --- modules ------------------------------------------------------------------------------------------------

pub struct InterpretedModule {
    module: Module,
    _items: Vec<Vec<u8>>, // what `imports` and `exports` point to
    imports: Vec<Item>,
    exports: Vec<Item>,
    imports_by_kind: [Vec<usize>; 4], // places in `imports`: so wasmi orders them
    memories: Vec<wasmparser::MemoryType>,
    start: Option<u32>,
    imported_functions: u32,
    functions: u32,
    begins: bool, // by the function behind those
    /// A byte for each function that it defines; 1: some store has called it, or it was asked for.
    needed: Vec<AtomicU8>,
    needed_count: AtomicU64,
    calls: AtomicU64,
    calls_translating: AtomicU64,
    wasm_bytes: u64,
    /// To be made again for another store's engine; not of large ones, which nobody links.
    form: Option<Interpretable>,
}
unsafe impl Send for InterpretedModule {}
unsafe impl Sync for InterpretedModule {}

fn config(stack_bytes: usize) -> Config {
    let mut config = Config::default();
    // Valid as a whole already.  What is checked late is checked by the parser that wasmi was made for.
    config.compilation_mode(CompilationMode::Lazy);
    config.consume_fuel(true);
    // Translating is not the guest's doing, and must not end a call.
    config.fuel_cost(CustomFuelCosts {
        bytes_copied_per_fuel: 64,
        fuel_per_bytes_translated: 0,
        fuel_per_bytes_validated: 0,
    });
    config.ignore_custom_sections(true);
    config.set_max_stack_height(stack_bytes);
    config.set_max_recursion_depth(stack_bytes / 32);
    config.wasm_relaxed_simd(true);
    config.wasm_custom_page_sizes(false);
    config.wasm_wide_arithmetic(false);
    config
}

fn item(items: &mut Vec<Vec<u8>>, module: &str, name: &str, ty: &ExternType) -> Item {
    let mut keep = |bytes: Vec<u8>| {
        let text = Text::of(&bytes);
        items.push(bytes); // moves the vector, not its bytes
        text
    };
    let (params, results) = match ty {
        ExternType::Func(ty) => (ty.params().to_vec(), ty.results().to_vec()),
        _ => (vec![], vec![]),
    };
    let numbers = |types: Vec<ValType>| types.into_iter().map(type_number).collect::<Vec<u8>>();
    Item {
        module: keep(module.as_bytes().to_vec()),
        name: keep(name.as_bytes().to_vec()),
        kind: kind_of(ty),
        params: keep(numbers(params)),
        results: keep(numbers(results)),
    }
}

fn make_module(wasm: &[u8], stack_bytes: usize) -> Result<InterpretedModule, Stop> {
    let form = interpretable(wasm).map_err(|error| Stop::Other(FAILED_INVALID, error.to_string()))?;
    if let Some(why) = form.refused {
        return Err(Stop::Other(FAILED_UNSUPPORTED, why));
    }
    let high = form.high.clone();
    let check = || too_many_slots(wasm, &high).map_err(|error| Stop::Other(FAILED_INVALID, error.to_string()));
    let make = || module_of(&Engine::new(&config(stack_bytes)), form);
    // Of a large module the one takes as long as the other.
    let (slots, made) = if high.is_empty() {
        (Ok(None), make())
    } else {
        std::thread::scope(|scope| match std::thread::Builder::new().spawn_scoped(scope, check) {
            Ok(checking) => {
                let made = make();
                let failed = |_| Err(Stop::Other(FAILED_PANIC, "counting operands failed".into()));
                (checking.join().unwrap_or_else(failed), made)
            }
            Err(_) => (check(), make()),
        })
    };
    if let Some(why) = slots? {
        return Err(Stop::Other(FAILED_UNSUPPORTED, why));
    }
    // What the interpreter lacks is not the module's fault: validation alone tells the two apart.
    if let Err(Stop::Other(FAILED_UNSUPPORTED, _)) = &made {
        let mut validator = wasmparser::Validator::new_with_features(features());
        if let Err(error) = validator.validate_all(wasm) {
            return Err(Stop::Other(FAILED_INVALID, error.to_string()));
        }
    }
    made
}

fn module_of(engine: &Engine, form: Interpretable) -> Result<InterpretedModule, Stop> {
    let module = Module::new(engine, &form.wasm).map_err(|error| Stop::Other(FAILED_UNSUPPORTED, error.to_string()))?;
    let mut items = Vec::new();
    // wasmi orders imports by their kind, and exports by name: here they stand as in the module.
    let mut by_kind: [Vec<wasmi::ImportType>; 4] = Default::default();
    for import in module.imports().filter(|import| import.module() != MODULE) {
        by_kind[kind_of(import.ty()) as usize].push(import);
    }
    let mut imports = Vec::new();
    let mut declared: [Vec<usize>; 4] = Default::default();
    for (i, kind) in form.imports.iter().enumerate() {
        let kind = kind_number(*kind) as usize;
        let Some(import) = by_kind[kind].get(declared[kind].len()) else {
            return Err(Stop::Other(FAILED_PANIC, "an import that is not there".into()));
        };
        declared[kind].push(i);
        imports.push(item(&mut items, import.module(), import.name(), import.ty()));
    }
    let mut exports = Vec::new();
    for name in &form.exports {
        let Some(ty) = module.get_export(name) else {
            return Err(Stop::Other(FAILED_PANIC, "an export that is not there".into()));
        };
        exports.push(item(&mut items, "", name, &ty));
    }
    Ok(InterpretedModule {
        _items: items,
        imports,
        exports,
        imports_by_kind: declared,
        memories: form.memories.clone(),
        start: form.start,
        imported_functions: form.imported_functions,
        functions: form.functions,
        begins: form.begins,
        needed: (0..form.functions).map(|_| AtomicU8::new(0)).collect(),
        needed_count: AtomicU64::new(0),
        calls: AtomicU64::new(0),
        calls_translating: AtomicU64::new(0),
        wasm_bytes: form.wasm.len() as u64,
        form: (form.wasm.len() <= LINKED_BYTES_MAX).then_some(form),
        module,
    })
}

/// Null: `failure` says why not.
///
/// # Safety
/// `wasm` is readable for `len` bytes, and valid.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_new(
    wasm: *const u8,
    len: usize,
    stack_bytes: usize,
    failure: *mut Failure,
) -> *mut InterpretedModule {
    let mut made = null_mut();
    told(failure, || {
        made = Box::into_raw(Box::new(make_module(bytes(wasm, len), stack_bytes)?));
        Ok(())
    });
    made
}

/// # Safety
/// spore_interpreted_new() gave it, and no store has it any more.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_delete(module: *mut InterpretedModule) {
    fenced((), || drop(Box::from_raw(module)));
}

/// # Safety
/// As long as the module lives.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_imports(module: &InterpretedModule, items: *mut *const Item) -> usize {
    *items = module.imports.as_ptr();
    module.imports.len()
}

/// # Safety
/// As long as the module lives.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_exports(module: &InterpretedModule, items: *mut *const Item) -> usize {
    *items = module.exports.as_ptr();
    module.exports.len()
}

#[repr(C)]
pub struct Statistics {
    functions: u64,
    translated: u64,
    calls: u64,
    calls_translating: u64,
    wasm_bytes: u64,
}

/// # Safety
/// The module lives.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_statistics(module: &InterpretedModule, statistics: *mut Statistics) {
    *statistics = Statistics {
        functions: u64::from(module.functions),
        translated: module.needed_count.load(Ordering::Relaxed),
        calls: module.calls.load(Ordering::Relaxed),
        calls_translating: module.calls_translating.load(Ordering::Relaxed),
        wasm_bytes: module.wasm_bytes,
    };
}

// --- stores -------------------------------------------------------------------------------------------------

/// One memory of a store.
struct Growing {
    base: *mut u8,
    bytes: u64,
    told_max: Option<usize>, // in bytes, as wasmi has it: see tell_apart()
    bytes_max: Option<u64>,  // as it was declared
}
unsafe impl Send for Growing {}
unsafe impl Sync for Growing {}

/// What wasmi's store holds of ours.
struct State {
    host: Host,
    memories: Vec<Growing>,
    making: bool,
    last: Option<(usize, u64)>, // the memory that was allowed to grow last, and what it had
    ahead: bool,                // it has its pages, and did not grow
}

impl ResourceLimiter for State {
    // wasmi does not say which memory it is: it is told by its length and its maximum.
    fn memory_growing(&mut self, now: usize, wanted: usize, max: Option<usize>) -> Result<bool, LimiterError> {
        if self.making {
            return Ok(true);
        }
        let mut found = None;
        for (i, memory) in self.memories.iter().enumerate() {
            if memory.bytes == now as u64 && memory.told_max == max {
                if found.is_some() {
                    return Err(LimiterError::ResourceLimiterDeniedAllocation);
                }
                found = Some(i);
            }
        }
        let Some(i) = found else { return Err(LimiterError::ResourceLimiterDeniedAllocation) };
        if self.memories[i].bytes_max.is_some_and(|max| wanted as u64 > max) {
            return Ok(false);
        }
        if !unsafe { (self.host.grow_memory)(self.host.env, self.memories[i].base, wanted as u64) } {
            return Ok(false);
        }
        self.last = Some((i, now as u64));
        self.memories[i].bytes = wanted as u64;
        self.ahead = false;
        Ok(true)
    }
    // It will ask again when there is fuel for it.
    fn memory_grow_failed(&mut self, _error: &MemoryError) -> Result<(), LimiterError> {
        if let Some((i, bytes)) = self.last.take() {
            self.memories[i].bytes = bytes;
            self.ahead = true;
        }
        Ok(())
    }
    fn table_growing(&mut self, _now: usize, wanted: usize, _max: Option<usize>) -> Result<bool, LimiterError> {
        Ok(wanted as u64 <= self.host.table_elements_max)
    }
    fn instances(&self) -> usize {
        self.host.instances_max as usize
    }
    fn tables(&self) -> usize {
        self.host.tables_max as usize
    }
    fn memories(&self) -> usize {
        usize::MAX // each instance has one of our own; ours are counted where they are made
    }
}

struct Member {
    instance: Instance,
    module: *const InterpretedModule,
    needed: *mut [u8],     // the memory NEEDED
    needed_known: usize, // how many of them are 1
    start: Option<Func>, // that is imported
    first_function: u64, // the handle of the first function that it defines
    function_step: u64,  // from one of its functions to the next
}

impl Member {
    /// By its place among those that the module defines.
    unsafe fn function(&self, number: u32) -> Option<Func> {
        Option::from(function_of(self.first_function + u64::from(number) * self.function_step))
    }
}

pub struct InterpretedStore {
    store: wasmi::Store<State>,
    caller: *mut c_void, // the innermost host function's Caller
    depth: u32,          // calls that are open
    reserve: u64,        // fuel that is not in the store
    members: Vec<Member>,
    functions: Vec<*mut InterpretedFunction>,
    /// Of a module that was made for another engine than this store's, as linked ones are.
    relinked: Vec<Box<InterpretedModule>>,
}

pub struct InterpretedFunction {
    function: Func,
    ty: FuncType,
    member: usize,
}

impl Drop for InterpretedStore {
    fn drop(&mut self) {
        for member in &self.members {
            unsafe { drop(Box::from_raw(member.needed)) };
        }
        for function in &self.functions {
            unsafe { drop(Box::from_raw(*function)) };
        }
    }
}

/// The store as whoever asks may use it: by the running host function's Caller, if there is one.
///
/// # Safety
/// Nothing that an earlier one gave is used any more.
unsafe fn context<'a>(store: *mut InterpretedStore) -> StoreContextMut<'a, State> {
    let caller = (*store).caller.cast::<Caller<'a, State>>();
    if caller.is_null() {
        (&mut *store).store.as_context_mut()
    } else {
        (&mut *caller).as_context_mut()
    }
}

/// # Safety
/// The module outlives the store.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_store_new(
    module: &InterpretedModule,
    host: &Host,
) -> *mut InterpretedStore {
    fenced(null_mut(), || {
        let state = State { host: *host, memories: Vec::new(), making: false, last: None, ahead: false };
        let mut store = wasmi::Store::new(module.module.engine(), state);
        store.limiter(|state| state);
        Box::into_raw(Box::new(InterpretedStore {
            store,
            caller: null_mut(),
            depth: 0,
            reserve: 0,
            members: Vec::new(),
            functions: Vec::new(),
            relinked: Vec::new(),
        }))
    })
}

/// # Safety
/// Nobody uses it or anything of it.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_store_delete(store: *mut InterpretedStore) {
    fenced((), || drop(Box::from_raw(store)));
}

/// What is to be imported, in the order of spore_interpreted_imports().
#[repr(C)]
pub struct Import {
    function: *const c_void, // of the host; null: what an instance of this store exports
    kind: u8,
    handle: u64,
}

struct Pointer<T>(*mut T);
unsafe impl<T> Send for Pointer<T> {}
unsafe impl<T> Sync for Pointer<T> {}
impl<T> Pointer<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

#[derive(Debug)]
struct Stopped;
impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped by the host")
    }
}
impl wasmi::errors::HostError for Stopped {}

unsafe fn host_function(store: *mut InterpretedStore, function: *const c_void, ty: &FuncType) -> Func {
    let own = Pointer(store);
    let function = Pointer(function.cast_mut());
    let result_types: Vec<ValType> = ty.results().to_vec();
    Func::new(context(store), ty.clone(), move |mut caller: Caller<'_, State>, params: &[Val], results: &mut [Val]| {
        const INLINE: usize = 16;
        let mut inline = [RawValue([0; 16]); INLINE];
        let mut heap = Vec::new();
        let count = params.len().max(results.len());
        let values = if count <= INLINE {
            &mut inline[..]
        } else {
            heap.resize(count, RawValue([0; 16]));
            &mut heap[..]
        };
        for (value, param) in values.iter_mut().zip(params) {
            *value = RawValue::from_val(param);
        }
        let store = own.get();
        let host = caller.data().host;
        let outer = (*store).caller;
        (*store).caller = (&raw mut caller).cast();
        let went_well = (host.call)(host.env, function.get(), store.cast(), values.as_mut_ptr());
        (*store).caller = outer;
        if !went_well {
            return Err(Error::host(Stopped));
        }
        for ((result, ty), value) in results.iter_mut().zip(&result_types).zip(values.iter()) {
            *result = value.to_val(*ty);
        }
        Ok(())
    })
}

/// The maximum that wasmi is told, in pages: another one for each memory of a store, as growths are told apart by it.
/// The declared one, which is held to by us, where no memory has that yet.  Of those that declare none and are
/// 32 bits wide, the second in a store cannot have the last page of 4 GiB, the third not the last two.
fn tell_apart(memories: &[Growing], ty: &wasmparser::MemoryType, page: u64) -> Option<u64> {
    let bytes = |pages: u64| usize::try_from(pages.saturating_mul(page)).unwrap_or(usize::MAX);
    let taken = |pages: Option<u64>| memories.iter().any(|memory| memory.told_max == pages.map(bytes));
    // Of 64 bits it is less than what makes wasmi 2.0.0 overflow, and more than there is.
    let none = if ty.memory64 { 1 << 40 } else { 1 << 16 };
    let declared = ty.maximum.map(|pages| pages.min(none));
    if !taken(declared) {
        return declared;
    }
    (1..)
        .map(|i| match declared {
            Some(max) if max + i <= none => Some(max + i),
            _ => Some(none - i),
        })
        .find(|pages| !taken(*pages))
        .flatten()
}

unsafe fn make_memory(store: *mut InterpretedStore, index: usize, ty: &wasmparser::MemoryType) -> Result<Memory, Stop> {
    let host = (*store).store.data().host;
    let page = 1 << ty.page_size_log2.unwrap_or(16);
    let wanted = NewMemory {
        index: index as u32,
        is_64: ty.memory64,
        page_bytes: page,
        bytes_min: ty.initial.saturating_mul(page),
        bytes_max: ty.maximum.map_or(u64::MAX, |pages| pages.saturating_mul(page)),
    };
    let mut made = MadeMemory { base: null_mut(), capacity: 0, bytes: 0 };
    if !(host.new_memory)(host.env, &wanted, &mut made) {
        return Err(Stop::Host);
    }
    let told = tell_apart(&(&*store).store.data().memories, ty, page);
    let mut builder = MemoryType::builder();
    builder.memory64(ty.memory64).min(made.bytes / page).max(told);
    let memory_type = builder.build().map_err(Error::from)?;
    let whole: &'static mut [u8] = std::slice::from_raw_parts_mut(made.base, made.capacity as usize);
    let mut context = context(store);
    context.data_mut().making = true;
    let memory = Memory::new_static(&mut context, memory_type, whole);
    context.data_mut().making = false;
    let told_max = told.map(|max| usize::try_from(max.saturating_mul(page)).unwrap_or(usize::MAX));
    let bytes_max = ty.maximum.map(|max| max.saturating_mul(page));
    context.data_mut().memories.push(Growing { base: made.base, bytes: made.bytes, told_max, bytes_max });
    Ok(memory.map_err(Error::from)?)
}

unsafe fn instantiate(
    store: *mut InterpretedStore,
    module: *const InterpretedModule,
    imports: &[Import],
    number: &mut u32,
) -> Result<(), Stop> {
    let mut module = &*module;
    let host = (*store).store.data().host;
    if !Engine::same(module.module.engine(), (*store).store.engine()) {
        let Some(form) = module.form.clone() else {
            return Err(Stop::Other(FAILED_UNSUPPORTED, format!("a linked module of more than {LINKED_BYTES_MAX} bytes")));
        };
        let again = Box::new(module_of((*store).store.engine(), form)?);
        module = &*(&raw const *again);
        (&mut (*store).relinked).push(again);
    }
    let mut memories = Vec::new();
    for (i, ty) in module.memories.iter().enumerate() {
        memories.push(Extern::Memory(make_memory(store, i, ty)?));
    }
    if !module.memories.is_empty() && !(host.memories_made)(host.env) {
        return Err(Stop::Host);
    }
    let bytes = u64::from(module.functions).div_ceil(PAGE) * PAGE;
    let needed: *mut [u8] = Box::into_raw(vec![0; bytes as usize].into_boxed_slice());
    // From here on it is freed with the store, and with it what is half made.
    (&mut (*store).members).push(Member {
        instance: transmute::<u64, Instance>(0),
        module,
        needed,
        needed_known: 0,
        start: None,
        first_function: 0,
        function_step: 0,
    });
    let member = (*store).members.len() - 1;
    let mut context = self::context(store);
    context.data_mut().making = true;
    let ty = MemoryType::new((bytes / PAGE) as u32, None);
    let memory = Memory::new_static(&mut context, ty, &mut *needed);
    context.data_mut().making = false;
    memories.push(Extern::Memory(memory.map_err(Error::from)?)); // the last: NEEDED
    let mut externs = Vec::with_capacity(imports.len() + memories.len());
    let mut own = memories.into_iter();
    let mut seen = [0; 4];
    let mut start = None;
    for wanted in module.module.imports() {
        if wanted.module() == MODULE {
            externs.extend(own.next());
            continue;
        }
        let kind = kind_of(wanted.ty()) as usize;
        let import = &imports[module.imports_by_kind[kind][seen[kind]]];
        seen[kind] += 1;
        let given = match (import.function.is_null(), wanted.ty()) {
            (false, ExternType::Func(ty)) => Extern::Func(host_function(store, import.function, ty)),
            _ => match import.kind {
                KIND_FUNCTION => Extern::Func(transmute::<u64, Func>(import.handle)),
                KIND_GLOBAL => Extern::Global(transmute::<u64, Global>(import.handle)),
                KIND_TABLE => Extern::Table(transmute::<u64, Table>(import.handle)),
                _ => Extern::Memory(transmute::<u64, Memory>(import.handle)),
            },
        };
        if let Extern::Func(function) = &given {
            if module.start == Some(seen[KIND_FUNCTION as usize] as u32 - 1) {
                start = Some(*function);
            }
        }
        externs.push(given);
    }
    let mut context = self::context(store);
    // Functions have handles in the order in which they are made: the instance's come right behind these two.
    let [one, two] = [(); 2].map(|()| number_of(Func::wrap(&mut context, || {})));
    let instance = Instance::new(&mut context, &module.module, &externs)?;
    let own = &mut (&mut (*store).members)[member];
    own.instance = instance;
    own.start = start;
    own.function_step = two - one;
    own.first_function = two + own.function_step;
    *number = member as u32;
    Ok(())
}

const _: () = assert!(size_of::<Instance>() == 8);

/// # Safety
/// `imports` are as the module has them; its instance gets `number`.  The start function is not called:
/// spore_interpreted_start().
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_instantiate(
    store: *mut InterpretedStore,
    module: *const InterpretedModule,
    imports: *const Import,
    len: usize,
    number: *mut u32,
    failure: *mut Failure,
) -> bool {
    let imports = if len == 0 { &[] } else { std::slice::from_raw_parts(imports, len) };
    told(failure, || instantiate(store, module, imports, &mut *number))
}

// --- what an instance has -----------------------------------------------------------------------------------

#[repr(C)]
pub struct Found {
    kind: u8,
    handle: u64,
}

/// # Safety
/// `member` is one of the store's instances.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_export(
    store: *mut InterpretedStore,
    member: u32,
    name: *const u8,
    len: usize,
    found: *mut Found,
) -> bool {
    fenced(false, || {
        let name = std::str::from_utf8_unchecked(bytes(name, len));
        let instance = (&(*store).members)[member as usize].instance;
        let Some(export) = instance.get_export(context(store), name) else { return false };
        *found = match export {
            Extern::Func(function) => Found { kind: KIND_FUNCTION, handle: number_of(function) },
            Extern::Global(global) => Found { kind: KIND_GLOBAL, handle: transmute::<Global, u64>(global) },
            Extern::Table(table) => Found { kind: KIND_TABLE, handle: transmute::<Table, u64>(table) },
            Extern::Memory(memory) => Found { kind: KIND_MEMORY, handle: transmute::<Memory, u64>(memory) },
        };
        true
    })
}

/// # Safety
/// A handle of a global of this store.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_global_get(
    store: *mut InterpretedStore,
    global: u64,
    value: *mut RawValue,
) -> u8 {
    fenced(u8::MAX, || {
        let held = transmute::<u64, Global>(global).get(context(store));
        *value = RawValue::from_val(&held);
        type_number(held.ty())
    })
}

/// # Safety
/// Likewise.  False: it is of another type, or immutable.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_global_set(
    store: *mut InterpretedStore,
    global: u64,
    ty: u8,
    value: *const RawValue,
) -> bool {
    fenced(false, || {
        let Some(ty) = type_of_number(ty) else { return false };
        transmute::<u64, Global>(global).set(context(store), (*value).to_val(ty)).is_ok()
    })
}

/// # Safety
/// A handle of a memory of this store.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_memory(store: *mut InterpretedStore, memory: u64, bytes: *mut u64) -> *mut u8 {
    fenced(null_mut(), || {
        let memory = transmute::<u64, Memory>(memory);
        *bytes = memory.data_size(context(store)) as u64;
        memory.data_ptr(context(store))
    })
}

/// By so many of its own pages.  False: a limit says no.
///
/// # Safety
/// A handle of a memory of this store; no call runs.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_memory_grow(store: *mut InterpretedStore, memory: u64, delta: u64) -> bool {
    fenced(false, || transmute::<u64, Memory>(memory).grow(context(store), delta).is_ok())
}

/// What the instance whose function called the running host function exports by a name, if it is a memory.
///
/// # Safety
/// A host function is running.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_caller_memory(
    store: *mut InterpretedStore,
    name: *const u8,
    len: usize,
    size: *mut u64,
) -> *mut u8 {
    fenced(null_mut(), || {
        let caller = (*store).caller.cast::<Caller<State>>();
        if caller.is_null() {
            return null_mut();
        }
        let name = std::str::from_utf8_unchecked(bytes(name, len));
        let Some(Extern::Memory(memory)) = (*caller).get_export(name) else { return null_mut() };
        *size = memory.data_size(context(store)) as u64;
        memory.data_ptr(context(store))
    })
}

/// # Safety
/// A handle of a table of this store.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_table_size(store: *mut InterpretedStore, table: u64) -> u64 {
    fenced(0, || transmute::<u64, Table>(table).size(context(store)))
}

/// # Safety
/// `elements` has room for `len`.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_table_read(
    store: *mut InterpretedStore,
    table: u64,
    elements: *mut u64,
    len: usize,
) -> bool {
    fenced(false, || {
        let table = transmute::<u64, Table>(table);
        (0..len).all(|i| match table.get(context(store), i as u64) {
            Some(Ref::Func(element)) => {
                *elements.add(i) = Option::from(element).map_or(0, number_of);
                true
            }
            _ => false,
        })
    })
}

/// # Safety
/// `elements` are functions of this store.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_table_write(
    store: *mut InterpretedStore,
    table: u64,
    elements: *const u64,
    len: usize,
) -> bool {
    fenced(false, || {
        let table = transmute::<u64, Table>(table);
        (0..len).all(|i| table.set(context(store), i as u64, Ref::Func(function_of(*elements.add(i)))).is_ok())
    })
}

/// # Safety
/// Likewise.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_table_grow(store: *mut InterpretedStore, table: u64, delta: u64) -> bool {
    fenced(false, || {
        transmute::<u64, Table>(table).grow(context(store), delta, Ref::Func(Nullable::Null)).is_ok()
    })
}

// --- calls --------------------------------------------------------------------------------------------------

/// Null: there is no function of that name.  Lives as long as the store.
///
/// # Safety
/// `member` is one of the store's instances.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_function(
    store: *mut InterpretedStore,
    member: u32,
    name: *const u8,
    len: usize,
) -> *mut InterpretedFunction {
    fenced(null_mut(), || {
        let name = std::str::from_utf8_unchecked(bytes(name, len));
        let instance = (&(*store).members)[member as usize].instance;
        let Some(function) = instance.get_func(context(store), name) else { return null_mut() };
        let ty = function.ty(context(store));
        let made = Box::into_raw(Box::new(InterpretedFunction { function, ty, member: member as usize }));
        (*store).functions.push(made);
        made
    })
}

/// # Safety
/// No call of this store is open, unless a host function asks.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_set_fuel(store: *mut InterpretedStore, fuel: u64) {
    fenced((), || {
        (*store).reserve = fuel;
        let _ = context(store).set_fuel(0);
    });
}

/// # Safety
/// Likewise.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_fuel(store: *mut InterpretedStore) -> u64 {
    fenced(0, || (*store).reserve.saturating_add(context(store).get_fuel().unwrap_or(0)))
}

/// What a guest may still do that is to return: unwind its stack, function by function.
const RETURNING: u64 = 1_000_000;

/// Has the running call come to go_on() before it goes on for long.
///
/// # Safety
/// A host function is running.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_interrupt(store: *mut InterpretedStore) {
    fenced((), || {
        let mut left = RETURNING;
        if context(store).data().host.counts_fuel {
            let all = (*store).reserve.saturating_add(context(store).get_fuel().unwrap_or(0));
            left = left.min(all);
            (*store).reserve = all - left;
        }
        let _ = context(store).set_fuel(left);
    });
}

/// Fuel for the next slice, at least `required`, if the call may go on.
unsafe fn refuel(store: *mut InterpretedStore, required: u64) -> Result<(), Stop> {
    let mut context = context(store);
    let host = context.data().host;
    if !(host.go_on)(host.env) {
        return Err(Stop::Host);
    }
    if !host.counts_fuel {
        let _ = context.set_fuel(slice().max(required));
        return Ok(());
    }
    let all = (*store).reserve.saturating_add(context.get_fuel().unwrap_or(0));
    if all < required {
        return Err(if context.data().ahead { Stop::OutOfFuelGrowing } else { Stop::Trap(OUT_OF_FUEL) });
    }
    let slice = slice().max(required).min(all);
    (*store).reserve = all - slice;
    let _ = context.set_fuel(slice);
    Ok(())
}

unsafe fn run(
    store: *mut InterpretedStore,
    function: Func,
    ty: &FuncType,
    values: *mut RawValue,
) -> Result<(), Stop> {
    let mut params = Vec::with_capacity(ty.params().len());
    for (i, ty) in ty.params().iter().enumerate() {
        params.push((*values.add(i)).to_val(*ty));
    }
    let mut results: Vec<Val> = ty.results().iter().map(|ty| Val::default_for_ty(*ty)).collect();
    if (*store).depth == 0 && !context(store).data().host.counts_fuel {
        let _ = context(store).set_fuel(slice());
    }
    (*store).depth += 1;
    let mut outcome = function.call_resumable(context(store), &params, &mut results);
    let ended = loop {
        match outcome {
            Ok(ResumableCall::Finished) => break Ok(()),
            Ok(ResumableCall::HostTrap(stopped)) => break Err(Stop::from(stopped.into_host_error())),
            Ok(ResumableCall::OutOfFuel(stopped)) => {
                if let Err(stop) = refuel(store, stopped.required_fuel()) {
                    break Err(stop);
                }
                outcome = stopped.resume(context(store), &mut results);
            }
            Err(error) => break Err(Stop::from(error)),
        }
    };
    (*store).depth -= 1;
    ended?;
    for (i, result) in results.iter().enumerate() {
        *values.add(i) = RawValue::from_val(result);
    }
    Ok(())
}

/// What functions of its instance were called for the first time since this was last asked.
unsafe fn count_needed(member: &mut Member) -> usize {
    let module = &*member.module;
    let needed = &(&*member.needed)[..module.functions as usize];
    let count: usize = needed.iter().map(|&byte| usize::from(byte)).sum();
    let added = count - member.needed_known;
    if added > 0 {
        member.needed_known = count;
        for (all, _) in module.needed.iter().zip(needed).filter(|(_, &byte)| byte != 0) {
            if all.load(Ordering::Relaxed) == 0 && all.swap(1, Ordering::Relaxed) == 0 {
                module.needed_count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    added
}

/// `values`: arguments, then results.
///
/// # Safety
/// It has room for the larger of both; the types are the function's.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_call(
    store: *mut InterpretedStore,
    function: *const InterpretedFunction,
    values: *mut RawValue,
    failure: *mut Failure,
) -> bool {
    told(failure, || {
        let function = &*function;
        let ended = run(store, function.function, &function.ty, values);
        if (*store).depth == 0 {
            let module = &*(&(*store).members)[function.member].module;
            let before = module.needed_count.load(Ordering::Relaxed);
            for i in 0..(*store).members.len() {
                count_needed(&mut (&mut (*store).members)[i]);
            }
            module.calls.fetch_add(1, Ordering::Relaxed);
            if module.needed_count.load(Ordering::Relaxed) != before {
                module.calls_translating.fetch_add(1, Ordering::Relaxed);
            }
        }
        ended
    })
}

/// Not the guest's doing, where modules are compiled: it costs none of its fuel.
unsafe fn begin(store: *mut InterpretedStore, function: Func) -> Result<(), Stop> {
    let (reserve, left) = ((*store).reserve, context(store).get_fuel().unwrap_or(0));
    (*store).reserve = u64::MAX / 2;
    let ty = function.ty(context(store));
    let ended = run(store, function, &ty, null_mut());
    (*store).reserve = reserve;
    let _ = context(store).set_fuel(left);
    ended
}

/// Segments that are written once there is an instance, and its start function; nothing if it has neither.
///
/// # Safety
/// As for spore_interpreted_call().
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_start(store: *mut InterpretedStore, member: u32, failure: *mut Failure) -> bool {
    told(failure, || {
        let member = &(&(*store).members)[member as usize];
        if (*member.module).begins {
            let Some(function) = member.function((*member.module).functions) else { return Ok(()) };
            begin(store, function)?;
        }
        let Some(start) = (*member.module).start else { return Ok(()) };
        let imported = (*member.module).imported_functions;
        let function = match start.checked_sub(imported) {
            Some(number) => member.function(number),
            None => member.start,
        };
        let Some(function) = function else { return Ok(()) };
        let ty = function.ty(context(store));
        run(store, function, &ty, null_mut())
    })
}

/// Has a function of the module translated before it is called.  False: it defines none of that index, or it could
/// not be translated.
///
/// # Safety
/// No call of this store is open.
#[no_mangle]
pub unsafe extern "C" fn spore_interpreted_translate(store: *mut InterpretedStore, member: u32, index: u32) -> bool {
    fenced(false, || {
        let own = &mut (&mut (*store).members)[member as usize];
        let module = &*own.module;
        let Some(number) = index.checked_sub(module.imported_functions) else { return false };
        if number >= module.functions {
            return false;
        }
        let Some(function) = own.function(number) else { return false };
        let ty = function.ty(context(store));
        let params: Vec<Val> = ty.params().iter().map(|ty| Val::default_for_ty(*ty)).collect();
        let mut results: Vec<Val> = ty.results().iter().map(|ty| Val::default_for_ty(*ty)).collect();
        // Its first instruction asks for fuel, and gets none: it is translated, and nothing of it runs.
        let left = context(store).get_fuel().unwrap_or(0);
        let _ = context(store).set_fuel(0);
        let outcome = function.call_resumable(context(store), &params, &mut results);
        let _ = context(store).set_fuel(left);
        let translated = matches!(outcome, Ok(ResumableCall::OutOfFuel(_)));
        drop(outcome);
        if translated {
            (&mut *own.needed)[number as usize] = 1;
            count_needed(own);
        }
        translated
    })
}
