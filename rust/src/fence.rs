//! What every function with a C interface stands behind.

use std::panic::{catch_unwind, AssertUnwindSafe};

/// Runs `body`; a panic becomes `on_panic`.  Unwinding into C++ would be undefined behaviour.
pub fn fenced<T>(on_panic: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(on_panic)
}

/// A slice from C: `len` 0 may come with a null pointer.
///
/// # Safety
/// Otherwise `data` points to `len` readable bytes that outlive the result.
pub unsafe fn bytes<'a>(data: *const u8, len: usize) -> &'a [u8] {
    if len == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, len)
    }
}
