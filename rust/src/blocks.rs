//! Whether blocks, loops or ifs of a module take parameters.

use crate::fence::{bytes, fenced};
use wasmparser::{BinaryReaderError, BlockType, CompositeInnerType, Operator, Parser, Payload};

fn take_parameters(wasm: &[u8]) -> Result<bool, BinaryReaderError> {
    let mut takes: Vec<bool> = Vec::new(); // of each type
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section {
                    takes.extend(group?.types().map(|ty| match &ty.composite_type.inner {
                        CompositeInnerType::Func(ty) => !ty.params().is_empty(),
                        _ => false,
                    }));
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader()? {
                    let (Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty }) = operator?
                    else {
                        continue;
                    };
                    if matches!(blockty, BlockType::FuncType(index) if takes.get(index as usize) == Some(&true)) {
                        return Ok(true);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(false)
}

/// False, too, if it is no module.
///
/// # Safety
/// `wasm` is readable for `len` bytes.
#[no_mangle]
pub unsafe extern "C" fn spore_blocks_take_parameters(wasm: *const u8, len: usize) -> bool {
    fenced(false, || take_parameters(bytes(wasm, len)).unwrap_or(false))
}
