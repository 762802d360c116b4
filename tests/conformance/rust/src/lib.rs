//! The guest of the conformance table in Rust: each function gives back what it gets.

wit_bindgen::generate!({ path: "world.wit" });
export!(Conformance);

struct Conformance;

macro_rules! echo {
    ($($name:ident: $type:ty,)*) => {
        $(fn $name(v: $type) -> $type { v })*
    };
}

impl Guest for Conformance {
    echo! {
        echo_bool: bool,
        echo_s8: i8,
        echo_u8: u8,
        echo_s16: i16,
        echo_u16: u16,
        echo_s32: i32,
        echo_u32: u32,
        echo_s64: i64,
        echo_u64: u64,
        echo_f32: f32,
        echo_f64: f64,
        echo_char: char,
        echo_string: String,
        echo_bytes: Vec<u8>,
        echo_list_s32: Vec<i32>,
        echo_list_string: Vec<String>,
        echo_list_item: Vec<Item>,
        echo_option_f64: Option<f64>,
        echo_option_string: Option<String>,
        echo_result: Result<i64, String>,
        echo_tuple: (i32, String),
        echo_item: Item,
        echo_color: Color,
        echo_nested: Vec<Option<(String, Item)>>,
    }

    fn many(a: Item, b: Item, c: Item, d: String) -> String {
        [a.name, b.name, c.name, d].join("+")
    }
}
