//! The active segments of a module, written by a function that is called once there is an instance, one after the
//! other, as the specification has it.  For wasmi 2.0.0 has made no instance yet when it writes them: if one does not
//! fit, functions that the ones before it have put into an imported table stay there, of an instance that never was,
//! and to call one reads memory that nobody owns.

use wasm_encoder::Encode;
use wasmparser::{
    BinaryReader, BinaryReaderError, ConstExpr, DataKind, DataSectionReader, ElementItems, ElementKind,
    ElementSectionReader,
};

pub const TYPE: u8 = 1;
pub const FUNCTION: u8 = 3;
pub const ELEMENT: u8 = 9;
pub const CODE: u8 = 10;
pub const DATA: u8 = 11;
pub const DATA_COUNT: u8 = 12;

const I32_CONST: u8 = 0x41;
const END: u8 = 0x0b;
// With 0xfc before them.
const MEMORY_INIT: u8 = 8;
const DATA_DROP: u8 = 9;
const TABLE_INIT: u8 = 12;
const ELEM_DROP: u8 = 13;

/// What the first pass finds.
#[derive(Default)]
pub struct Segments {
    pub tables_imported: bool,
    pub types: u32,
    /// Of the data section.
    pub data: Option<u32>,
    pub data_counted: bool,
    active_elements: bool,
    instructions: Vec<u8>,
}

impl Segments {
    /// Whether functions may come into somebody else's table before it is known that there will be an instance.
    pub fn are_written_later(&self) -> bool {
        self.tables_imported && self.active_elements
    }

    pub fn add_elements(&mut self, section: ElementSectionReader) -> Result<(), BinaryReaderError> {
        for (i, element) in section.into_iter().enumerate() {
            let element = element?;
            if let ElementKind::Active { table_index, offset_expr } = element.kind {
                let count = match &element.items {
                    ElementItems::Functions(items) => items.count(),
                    ElementItems::Expressions(_, items) => items.count(),
                };
                self.active_elements = true;
                self.write([TABLE_INIT, ELEM_DROP], i, table_index.unwrap_or(0), &offset_expr, count)?;
            }
        }
        Ok(())
    }

    pub fn add_data(&mut self, section: DataSectionReader) -> Result<(), BinaryReaderError> {
        self.data = Some(section.count());
        for (i, data) in section.into_iter().enumerate() {
            let data = data?;
            if let DataKind::Active { memory_index, offset_expr } = data.kind {
                let count = data.data.len() as u32;
                self.write([MEMORY_INIT, DATA_DROP], i, memory_index, &offset_expr, count)?;
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        [init, drop]: [u8; 2],
        segment: usize,
        into: u32,
        offset: &ConstExpr,
        count: u32,
    ) -> Result<(), BinaryReaderError> {
        let out = &mut self.instructions;
        let mut offset = offset.get_binary_reader();
        out.extend_from_slice(offset.read_bytes(offset.bytes_remaining() - 1)?); // all but its end
        out.extend_from_slice(&[I32_CONST, 0, I32_CONST]);
        (count as i32).encode(out);
        out.extend_from_slice(&[0xfc, init]);
        segment.encode(out);
        into.encode(out);
        out.extend_from_slice(&[0xfc, drop]);
        segment.encode(out);
        Ok(())
    }

    /// The function's code, with its length.
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        (self.instructions.len() as u32 + 2).encode(&mut body);
        body.push(0); // no locals
        body.extend_from_slice(&self.instructions);
        body.push(END);
        body
    }

    /// The contents of a section, with that function and without active segments.
    pub fn section(&self, id: u8, contents: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
        match id {
            TYPE => with_one_more(contents, &[0x60, 0, 0]),
            FUNCTION => {
                let mut ty = Vec::new();
                self.types.encode(&mut ty);
                with_one_more(contents, &ty)
            }
            ELEMENT => passive_elements(contents),
            DATA => passive_data(contents),
            _ => Ok(contents.to_vec()),
        }
    }
}

fn with_one_more(contents: &[u8], item: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut reader = BinaryReader::new(contents, 0);
    let count = reader.read_var_u32()?;
    let mut out = Vec::with_capacity(contents.len() + item.len() + 1);
    (count + 1).encode(&mut out);
    out.extend_from_slice(reader.read_bytes(reader.bytes_remaining())?);
    out.extend_from_slice(item);
    Ok(out)
}

fn passive_elements(contents: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let section = ElementSectionReader::new(BinaryReader::new(contents, 0))?;
    let mut out = Vec::with_capacity(contents.len() + 2 * section.count() as usize);
    section.count().encode(&mut out);
    for element in section {
        let element = element?;
        if !matches!(element.kind, ElementKind::Active { .. }) {
            out.extend_from_slice(&contents[element.range]);
            continue;
        }
        let items = match element.items {
            ElementItems::Functions(items) => {
                out.extend_from_slice(&[1, 0]); // passive, of functions
                items.range()
            }
            ElementItems::Expressions(ty, items) => {
                out.extend_from_slice(&[5, if ty.is_func_ref() { 0x70 } else { 0x6f }]);
                items.range()
            }
        };
        out.extend_from_slice(&contents[items]);
    }
    Ok(out)
}

fn passive_data(contents: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let section = DataSectionReader::new(BinaryReader::new(contents, 0))?;
    let mut out = Vec::with_capacity(contents.len());
    section.count().encode(&mut out);
    for data in section {
        out.push(1); // passive
        data?.data.encode(&mut out);
    }
    Ok(out)
}
