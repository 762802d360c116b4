//! wasm-smith, held to what Spore takes.

use std::convert::Infallible;
use std::panic::{catch_unwind, AssertUnwindSafe};

use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{ExportKind, ExportSection, FunctionSection, ImportSection, TypeSection, ValType};
use wasm_smith::{Config, MemoryOffsetChoices};

use crate::dice::Dice;
use crate::{Made, Options};

/// What a module may spend in its life: a loop iteration or a call costs 1, table operations their length.
const FUEL: u32 = 3000;

/// None: these bytes make no module.
pub fn make(options: &Options, mut dice: Dice) -> Option<Made> {
    let config = config(options, &mut dice);
    let exports_more = dice.chance(1, 2);
    // A panic of wasm-smith's is its own affair.
    let (wasm, fuel_global) = catch_unwind(AssertUnwindSafe(|| {
        let mut module = wasm_smith::Module::new(config, &mut dice.0).ok()?;
        let fuel_global = module.ensure_termination(FUEL).expect("no body is invalid");
        Some((module.to_bytes(), fuel_global))
    }))
    .ok()??;
    let mut rewritten = wasm_encoder::Module::new();
    Rewrite { exports_more }
        .parse_core_module(&mut rewritten, wasmparser::Parser::new(0), &wasm)
        .expect("wasm-smith makes valid modules");
    Some(Made { wasm: rewritten.finish(), counter_global: fuel_global })
}

fn config(options: &Options, dice: &mut Dice) -> Config {
    let memory_bytes = u64::from(options.memory_pages_max) << 16;
    let has_host = dice.chance(1, 2);
    Config {
        available_imports: has_host.then(host_functions),
        max_imports: if has_host { 4 } else { 0 }, // without a list, anything would be imported
        // Without traps there is no memory.fill, no table operation, no call_indirect.
        disallow_traps: dice.chance(1, 2),
        allow_floats: dice.chance(3, 4) | (options.numbers != 0),
        reference_types_enabled: dice.chance(2, 3),
        simd_enabled: dice.chance(1, 2),
        memory64_enabled: dice.chance(1, 4) & (options.plain == 0),
        bulk_memory_enabled: options.plain == 0,
        tail_call_enabled: options.optimised != 0,
        relaxed_simd_enabled: options.optimised != 0,
        exceptions_enabled: false,
        gc_enabled: false,
        threads_enabled: false,

        export_everything: true,
        min_types: 2,
        max_types: 8,
        max_type_size: 10_000,
        min_funcs: 3,
        max_funcs: 10,
        min_globals: 1,
        max_globals: 8,
        min_memories: u32::from(dice.chance(9, 10)),
        max_memories: if options.plain == 0 { 2 } else { 1 },
        max_memory32_bytes: memory_bytes,
        max_memory64_bytes: u128::from(memory_bytes),
        memory_offset_choices: MemoryOffsetChoices(95, 4, 1),
        min_tables: u32::from(dice.chance(1, 2)),
        max_tables: if options.plain == 0 { 3 } else { 1 },
        max_table_elements: 40,
        max_data_segments: 6,
        max_element_segments: 6,
        max_elements: 20,
        max_instructions: 150,
        ..Config::default()
    }
}

/// A module that imports what the harness provides.
fn host_functions() -> Vec<u8> {
    let mut types = TypeSection::new();
    let mut imports = ImportSection::new();
    for (name, params) in crate::steered::HOST_FUNCTIONS {
        imports.import("host", name, wasm_encoder::EntityType::Function(types.len()));
        types.ty().function(vec![ValType::I32; params], []);
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports).section(&FunctionSection::new());
    module.finish()
}

/// externref becomes funcref: without imports that take or give one both are but null or not, so that a module
/// stays valid, and Spore takes no externref.  Exports get names that the harness knows.
struct Rewrite {
    exports_more: bool,
}

impl Reencode for Rewrite {
    type Error = Infallible;

    fn abstract_heap_type(
        &mut self,
        value: wasmparser::AbstractHeapType,
    ) -> Result<wasm_encoder::AbstractHeapType, Error<Infallible>> {
        Ok(match value {
            wasmparser::AbstractHeapType::Extern => wasm_encoder::AbstractHeapType::Func,
            other => other.into(),
        })
    }

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        export: wasmparser::Export<'_>,
    ) -> Result<(), Error<Infallible>> {
        let kind = self.export_kind(export.kind)?;
        match kind {
            ExportKind::Func => exports.export(&format!("f{}", export.index), kind, export.index),
            ExportKind::Memory if export.index == 0 => exports.export("memory", kind, 0),
            ExportKind::Table if self.exports_more => {
                exports.export(&format!("t{}", export.index), kind, export.index)
            }
            ExportKind::Global if self.exports_more => {
                exports.export(&format!("g{}", export.index), kind, export.index)
            }
            _ => exports,
        };
        Ok(())
    }
}
