//! Spore's Rust half, one static library: Wasmtime's C API, re-exported so that the linker keeps it,
//! and what needs the Rust WebAssembly crates.  No panic leaves a function of ours: each is fenced.

pub use wasmtime_c_api::*;

mod asyncify;
mod blocks;
mod engine;
mod fence;
mod inspect;
mod interpretable;
mod interpreter;
mod limits;
mod peak;
mod prepare;
mod rewrite;
mod scan;
mod segments;
mod table;
mod wit;
