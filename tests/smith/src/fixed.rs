//! A module whose tables do not grow: each `table.grow` gives the length that there is.

use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{CodeSection, Instruction};
use wasmparser::{FunctionBody, Operator};

/// `wasm` is valid.
pub fn without_growth_of_tables(wasm: &[u8]) -> Vec<u8> {
    let mut fixed = wasm_encoder::Module::new();
    Fixed.parse_core_module(&mut fixed, wasmparser::Parser::new(0), wasm).expect("the generators make valid modules");
    fixed.finish()
}

struct Fixed;

impl Reencode for Fixed {
    type Error = Infallible;

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<(), Error<Infallible>> {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            if let Operator::TableGrow { table } = operators.clone().read()? {
                operators.read()?;
                function.instruction(&Instruction::Drop).instruction(&Instruction::Drop);
                function.instruction(&Instruction::TableSize(table));
            } else {
                function.instruction(&self.parse_instruction(&mut operators)?);
            }
        }
        code.function(&function);
        Ok(())
    }
}
