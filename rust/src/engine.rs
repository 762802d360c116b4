//! What Wasmtime's C API does not tell of an engine.

use crate::fence::fenced;
use std::hash::{Hash, Hasher};
use std::mem::{align_of, size_of};
use std::num::NonZeroUsize;
use wasmtime_c_api::wasmtime::{AsContext, Config, WasmBacktrace};
use wasmtime_c_api::{wasm_config_t, WasmtimeStoreContext};

/// Keeps what it is given, instead of a number made of it.
struct Told(Vec<u8>);

impl Hasher for Told {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    fn finish(&self) -> u64 {
        0
    }
}

/// All that must be equal for two engines to load each other's code, as bytes: version, compiler, its settings,
/// the features of the CPU.  Gives their number; no more than `capacity` are written.
///
/// # Safety
/// `bytes` has room for `capacity`; the store is used by this thread alone.
#[no_mangle]
pub unsafe extern "C" fn spore_engine_compatibility(
    store: WasmtimeStoreContext<'_>,
    bytes: *mut u8,
    capacity: usize,
) -> usize {
    fenced(0, || {
        let mut told = Told(Vec::new());
        store.as_context().engine().precompile_compatibility_hash().hash(&mut told);
        let len = told.0.len().min(capacity);
        std::ptr::copy_nonoverlapping(told.0.as_ptr(), bytes, len);
        told.0.len()
    })
}

// A wasm_config_t is its Config, and does not give it out.
const _: () = assert!(size_of::<wasm_config_t>() == size_of::<Config>() && align_of::<wasm_config_t>() == align_of::<Config>());

/// Has backtraces go so many frames down, for spore_stack_functions: 20 are Wasmtime's own choice.
///
/// # Safety
/// `config` is one of Wasmtime's, of which no engine was made yet.
#[no_mangle]
pub unsafe extern "C" fn spore_config_set_backtrace_frames_max(config: *mut wasm_config_t, frames: usize) {
    fenced((), || {
        (*config.cast::<Config>()).wasm_backtrace_max_frames(NonZeroUsize::new(frames));
    })
}

/// The guest's functions on this thread's stack, innermost first, by their indices.  Gives their number, at most as
/// many as the configuration said; no more than `capacity` are written.
///
/// # Safety
/// `functions` has room for `capacity`; a host function that the store's guest called is running on this thread.
#[no_mangle]
pub unsafe extern "C" fn spore_stack_functions(
    store: WasmtimeStoreContext<'_>,
    functions: *mut u32,
    capacity: usize,
) -> usize {
    fenced(usize::MAX, || {
        let trace = WasmBacktrace::force_capture(store.as_context());
        for (i, frame) in trace.frames().iter().take(capacity).enumerate() {
            *functions.add(i) = frame.func_index();
        }
        trace.frames().len()
    })
}
