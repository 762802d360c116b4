//! Elements of tables of functions.  Wasmtime's C API reads and writes references only where it was built with
//! the `gc` feature, which this build leaves out; without it, it aborts.

use crate::fence::fenced;
use std::ffi::c_void;
use wasmtime_c_api::wasmtime::{AsContextMut, Func, Ref, Table};
use wasmtime_c_api::WasmtimeStoreContextMut;

/// Copies the first `len` elements to `elements`, each as wasmtime_func_to_raw has it, null for none.  False
/// if there are fewer, or others than functions.
///
/// # Safety
/// `elements` has room for `len`; `table` is of this store, and used by this thread alone.
#[no_mangle]
pub unsafe extern "C" fn spore_table_read(
    mut store: WasmtimeStoreContextMut<'_>,
    table: &Table,
    elements: *mut *mut c_void,
    len: usize,
) -> bool {
    fenced(false, || (0..len).all(|i| match read(&mut store, table, i) {
        Some(raw) => {
            *elements.add(i) = raw;
            true
        }
        None => false,
    }))
}

/// Makes the first `len` elements those of `elements`; what is there already stays.
///
/// # Safety
/// Likewise; `elements` are functions of this store.
#[no_mangle]
pub unsafe extern "C" fn spore_table_write(
    mut store: WasmtimeStoreContextMut<'_>,
    table: &Table,
    elements: *const *mut c_void,
    len: usize,
) -> bool {
    fenced(false, || (0..len).all(|i| {
        let raw = *elements.add(i);
        match read(&mut store, table, i) {
            Some(now) if now == raw => true,
            Some(_) => {
                let function = Func::from_raw(&mut store, raw);
                table.set(&mut store, i as u64, Ref::Func(function)).is_ok()
            }
            None => false,
        }
    }))
}

/// Adds `delta` nulls; false if that passes a limit.
///
/// # Safety
/// Likewise.
#[no_mangle]
pub unsafe extern "C" fn spore_table_grow(
    mut store: WasmtimeStoreContextMut<'_>,
    table: &Table,
    delta: u64,
) -> bool {
    fenced(false, || table.grow(&mut store, delta, Ref::Func(None)).is_ok())
}

fn read(mut store: impl AsContextMut, table: &Table, index: usize) -> Option<*mut c_void> {
    match table.get(&mut store, index as u64)? {
        Ref::Func(Some(function)) => Some(function.to_raw(&mut store)),
        Ref::Func(None) => Some(std::ptr::null_mut()),
        _ => None,
    }
}
