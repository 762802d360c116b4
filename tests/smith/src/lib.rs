//! Modules from random bytes, behind a C interface: tests/smith/smith.h.
//!
//! The same bytes and options give the same module.  All of it is exported: functions as "f0", "f1"..., the
//! first memory as "memory"; some of the tables and globals.

mod actor;
mod calculator;
mod dice;
mod fixed;
mod smith;
mod steered;

use dice::Dice;

/// What a module may be.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Options {
    /// `GENERATOR_SMITH` or `GENERATOR_STEERED`.
    pub generator: u32,
    /// Of each memory at its start.
    pub memory_pages_max: u32,
    /// Whether the optimising compiler will see it, which takes more proposals than the baseline.
    pub optimised: u32,
    /// Whether there is to be more of numbers: floats, vectors, their conversions.
    pub numbers: u32,
    /// Whether it is to be such as Binaryen 108 reads: one memory of 32 bits, no copying of tables, no dropping of
    /// elements.
    pub plain: u32,
    /// Whether no table is to grow, which the interpreter does not take.
    pub fixed_tables: u32,
}

/// Any valid module, by wasm-smith.
pub const GENERATOR_SMITH: u32 = 0;
/// One whose functions change state and look at it.
pub const GENERATOR_STEERED: u32 = 1;

/// No global counts instructions.
pub const NO_GLOBAL: u32 = u32::MAX;

/// A module, and the global in which it counts down to its own end.
pub struct Made {
    pub wasm: Vec<u8>,
    pub counter_global: u32,
}

/// Writes a module into `module` and gives its length; 0: these bytes make none, or a longer one.
///
/// # Safety
/// `bytes` are readable for `bytes_size`, `module` is writable for `module_size`; the others point to one of
/// their kind.
#[no_mangle]
pub unsafe extern "C" fn spore_smith_make(
    options: *const Options,
    bytes: *const u8,
    bytes_size: usize,
    module: *mut u8,
    module_size: usize,
    counter_global: *mut u32,
) -> usize {
    let options = unsafe { *options };
    let bytes: &[u8] = match bytes_size {
        0 => &[], // from C an empty range may begin at null
        _ => unsafe { std::slice::from_raw_parts(bytes, bytes_size) },
    };
    let made = match options.generator {
        GENERATOR_SMITH => smith::make(&options, Dice::new(bytes)),
        _ => Some(steered::make(&options, Dice::new(bytes))),
    };
    let made = made.map(|made| match options.fixed_tables {
        0 => made,
        _ => Made { wasm: fixed::without_growth_of_tables(&made.wasm), ..made },
    });
    let Some(made) = made.filter(|made| made.wasm.len() <= module_size) else { return 0 };
    unsafe {
        std::ptr::copy_nonoverlapping(made.wasm.as_ptr(), module, made.wasm.len());
        *counter_global = made.counter_global;
    }
    made.wasm.len()
}

/// Writes `to` over each instruction of `module` that begins with `from`, which is as long.  False: it is no
/// valid module.
///
/// # Safety
/// `module` is writable for `module_size`; `from` and `to` are readable for `size`.
#[no_mangle]
pub unsafe extern "C" fn spore_smith_replace(
    module: *mut u8,
    module_size: usize,
    from: *const u8,
    to: *const u8,
    size: usize,
) -> bool {
    let module = unsafe { std::slice::from_raw_parts_mut(module, module_size) };
    let (from, to) = unsafe { (std::slice::from_raw_parts(from, size), std::slice::from_raw_parts(to, size)) };
    let Ok(places) = instructions(module) else { return false };
    for place in places {
        if module[place..].starts_with(from) {
            module[place..place + size].copy_from_slice(to);
        }
    }
    true
}

/// Where each one begins.
fn instructions(module: &[u8]) -> wasmparser::Result<Vec<usize>> {
    let mut places = vec![];
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        if let wasmparser::Payload::CodeSectionEntry(body) = payload? {
            for instruction in body.get_operators_reader()?.into_iter_with_offsets() {
                places.push(instruction?.1);
            }
        }
    }
    Ok(places)
}
