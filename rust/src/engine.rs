//! What Wasmtime's C API does not tell of an engine.

use crate::fence::fenced;
use std::hash::{Hash, Hasher};
use wasmtime_c_api::wasmtime::AsContext;
use wasmtime_c_api::WasmtimeStoreContext;

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
