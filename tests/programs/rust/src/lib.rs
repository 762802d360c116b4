//! A Rust library whose functions a host calls.  What they do: ../../README.md.

use std::alloc::{self, Layout};
use std::cell::RefCell;
use std::sync::atomic::{AtomicI64, Ordering};

/// Filled before anything is called, as a C library's constructors do: Rust itself has none.
static TABLE_SUM: AtomicI64 = AtomicI64::new(0);

extern "C" fn fill_table() {
    let table: Vec<i64> = (0..64).map(|i| i * i).collect();
    TABLE_SUM.store(table.iter().sum(), Ordering::Relaxed);
}

#[used]
#[link_section = ".init_array"]
static CONSTRUCTOR: extern "C" fn() = fill_table;

#[no_mangle]
pub extern "C" fn add(a: i32, b: i32) -> i32 {
    a.wrapping_add(b)
}

#[no_mangle]
pub extern "C" fn primes(below: i32) -> i32 {
    let below = below.max(2) as usize;
    let mut composite = vec![false; below];
    let mut count = 0;
    for i in 2..below {
        if composite[i] {
            continue;
        }
        count += 1;
        for j in (i.saturating_mul(i)..below).step_by(i) {
            composite[j] = true;
        }
    }
    count
}

#[no_mangle]
pub extern "C" fn initialised() -> i64 {
    TABLE_SUM.load(Ordering::Relaxed)
}

#[no_mangle]
pub extern "C" fn file_bytes() -> i64 {
    std::fs::metadata("/data/input.txt").map_or(-1, |status| status.len() as i64)
}

// --- text --------------------------------------------------------------------------------------------

#[repr(C)]
pub struct Text {
    text: *const u8,
    bytes: usize,
}

thread_local! {
    /// What the last greeting points to.
    static GREETING: RefCell<(String, Text)> =
        const { RefCell::new((String::new(), Text { text: std::ptr::null(), bytes: 0 })) };
}

/// # Safety
/// `old` is null or was given by this function for `old_bytes` and `alignment`.
#[no_mangle]
pub unsafe extern "C" fn cabi_realloc(
    old: *mut u8,
    old_bytes: usize,
    alignment: usize,
    bytes: usize,
) -> *mut u8 {
    if bytes == 0 {
        return alignment as *mut u8;
    }
    let layout = |bytes| Layout::from_size_align(bytes, alignment).expect("a valid layout");
    let result = if old_bytes == 0 {
        alloc::alloc(layout(bytes))
    } else {
        alloc::realloc(old, layout(old_bytes), bytes)
    };
    if result.is_null() {
        alloc::handle_alloc_error(layout(bytes));
    }
    result
}

/// # Safety
/// `name` was given by `cabi_realloc` for `bytes` bytes of UTF-8; this function takes it over.
#[no_mangle]
pub unsafe extern "C" fn greet(name: *mut u8, bytes: usize) -> *const Text {
    let name = if bytes == 0 { String::new() } else { String::from_raw_parts(name, bytes, bytes) };
    GREETING.with_borrow_mut(|(greeting, answer)| {
        *greeting = format!("Hello, {name}!");
        *answer = Text { text: greeting.as_ptr(), bytes: greeting.len() };
        std::ptr::from_ref(answer)
    })
}

#[no_mangle]
pub extern "C" fn cabi_post_greet(_greeting: *const Text) {
    GREETING.with_borrow_mut(|(greeting, _)| *greeting = String::new());
}
