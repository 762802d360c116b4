//! Functions that calculate: one expression each, over parameters of all number types, of any instruction that
//! takes numbers and gives one.  They hold no state; what they give goes wherever an actor puts it.

use wasm_encoder::{Function, ValType};

use crate::dice::Dice;

/// Of each calculator.
pub const PARAMS: [ValType; 5] = [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128];

use ValType::{F32, F64, I32, I64, V128};

/// Instructions of one type, by opcode: `first` to `last`, after `prefix` if that is not 0.
struct Row {
    result: ValType,
    operands: &'static [ValType],
    prefix: u8,
    first: u32,
    last: u32,
    lanes: u32, // 0: there is no lane to name
}

const fn plain(result: ValType, operands: &'static [ValType], first: u32, last: u32) -> Row {
    Row { result, operands, prefix: 0, first, last, lanes: 0 }
}

const fn saturating(result: ValType, operands: &'static [ValType], first: u32, last: u32) -> Row {
    Row { result, operands, prefix: 0xfc, first, last, lanes: 0 }
}

const fn vector(result: ValType, operands: &'static [ValType], first: u32, last: u32) -> Row {
    Row { result, operands, prefix: 0xfd, first, last, lanes: 0 }
}

const fn lane(result: ValType, operands: &'static [ValType], first: u32, last: u32, lanes: u32) -> Row {
    Row { result, operands, prefix: 0xfd, first, last, lanes }
}

const ROWS: &[Row] = &[
    plain(I32, &[I32], 0x45, 0x45), // eqz
    plain(I32, &[I32, I32], 0x46, 0x4f),
    plain(I32, &[I64], 0x50, 0x50),
    plain(I32, &[I64, I64], 0x51, 0x5a),
    plain(I32, &[F32, F32], 0x5b, 0x60),
    plain(I32, &[F64, F64], 0x61, 0x66),
    plain(I32, &[I32], 0x67, 0x69), // clz, ctz, popcnt
    plain(I32, &[I32, I32], 0x6a, 0x78),
    plain(I32, &[I64], 0xa7, 0xa7),
    plain(I32, &[F32], 0xa8, 0xa9), // trunc, which may trap
    plain(I32, &[F64], 0xaa, 0xab),
    plain(I32, &[F32], 0xbc, 0xbc),
    plain(I32, &[I32], 0xc0, 0xc1), // extend8_s, extend16_s
    saturating(I32, &[F32], 0, 1),
    saturating(I32, &[F64], 2, 3),
    lane(I32, &[V128], 0x15, 0x16, 16),
    lane(I32, &[V128], 0x18, 0x19, 8),
    lane(I32, &[V128], 0x1b, 0x1b, 4),
    vector(I32, &[V128], 0x53, 0x53), // any_true
    vector(I32, &[V128], 0x63, 0x64), // all_true, bitmask
    vector(I32, &[V128], 0x83, 0x84),
    vector(I32, &[V128], 0xa3, 0xa4),
    vector(I32, &[V128], 0xc3, 0xc4),
    plain(I64, &[I64], 0x79, 0x7b),
    plain(I64, &[I64, I64], 0x7c, 0x8a),
    plain(I64, &[I32], 0xac, 0xad),
    plain(I64, &[F32], 0xae, 0xaf),
    plain(I64, &[F64], 0xb0, 0xb1),
    plain(I64, &[F64], 0xbd, 0xbd),
    plain(I64, &[I64], 0xc2, 0xc4),
    saturating(I64, &[F32], 4, 5),
    saturating(I64, &[F64], 6, 7),
    lane(I64, &[V128], 0x1d, 0x1d, 2),
    plain(F32, &[F32], 0x8b, 0x91), // abs, neg, ceil, floor, trunc, nearest, sqrt
    plain(F32, &[F32, F32], 0x92, 0x98), // add, sub, mul, div, min, max, copysign
    plain(F32, &[I32], 0xb2, 0xb3),
    plain(F32, &[I64], 0xb4, 0xb5),
    plain(F32, &[F64], 0xb6, 0xb6), // demote
    plain(F32, &[I32], 0xbe, 0xbe),
    lane(F32, &[V128], 0x1f, 0x1f, 4),
    plain(F64, &[F64], 0x99, 0x9f),
    plain(F64, &[F64, F64], 0xa0, 0xa6),
    plain(F64, &[I32], 0xb7, 0xb8),
    plain(F64, &[I64], 0xb9, 0xba),
    plain(F64, &[F32], 0xbb, 0xbb), // promote
    plain(F64, &[I64], 0xbf, 0xbf),
    lane(F64, &[V128], 0x21, 0x21, 2),
    vector(V128, &[V128, V128], 0x0e, 0x0e), // swizzle
    vector(V128, &[I32], 0x0f, 0x11),        // splat
    vector(V128, &[I64], 0x12, 0x12),
    vector(V128, &[F32], 0x13, 0x13),
    vector(V128, &[F64], 0x14, 0x14),
    lane(V128, &[V128, I32], 0x17, 0x17, 16), // replace_lane
    lane(V128, &[V128, I32], 0x1a, 0x1a, 8),
    lane(V128, &[V128, I32], 0x1c, 0x1c, 4),
    lane(V128, &[V128, I64], 0x1e, 0x1e, 2),
    lane(V128, &[V128, F32], 0x20, 0x20, 4),
    lane(V128, &[V128, F64], 0x22, 0x22, 2),
    vector(V128, &[V128, V128], 0x23, 0x4c), // comparisons
    vector(V128, &[V128], 0x4d, 0x4d),
    vector(V128, &[V128, V128], 0x4e, 0x51),
    vector(V128, &[V128, V128, V128], 0x52, 0x52), // bitselect
    vector(V128, &[V128], 0x5e, 0x62),             // demote, promote; abs, neg, popcnt
    vector(V128, &[V128, V128], 0x65, 0x66),       // narrow
    vector(V128, &[V128], 0x67, 0x6a),             // f32x4.ceil, floor, trunc, nearest
    vector(V128, &[V128, I32], 0x6b, 0x6d),        // shifts
    vector(V128, &[V128, V128], 0x6e, 0x73),
    vector(V128, &[V128], 0x74, 0x75), // f64x2.ceil, floor
    vector(V128, &[V128, V128], 0x76, 0x79),
    vector(V128, &[V128], 0x7a, 0x7a), // f64x2.trunc
    vector(V128, &[V128, V128], 0x7b, 0x7b),
    vector(V128, &[V128], 0x7c, 0x81),
    vector(V128, &[V128, V128], 0x82, 0x82),
    vector(V128, &[V128, V128], 0x85, 0x86),
    vector(V128, &[V128], 0x87, 0x8a),
    vector(V128, &[V128, I32], 0x8b, 0x8d),
    vector(V128, &[V128, V128], 0x8e, 0x93),
    vector(V128, &[V128], 0x94, 0x94), // f64x2.nearest
    vector(V128, &[V128, V128], 0x95, 0x99),
    vector(V128, &[V128, V128], 0x9b, 0x9f),
    vector(V128, &[V128], 0xa0, 0xa1),
    vector(V128, &[V128], 0xa7, 0xaa),
    vector(V128, &[V128, I32], 0xab, 0xad),
    vector(V128, &[V128, V128], 0xae, 0xae),
    vector(V128, &[V128, V128], 0xb1, 0xb1),
    vector(V128, &[V128, V128], 0xb5, 0xba),
    vector(V128, &[V128, V128], 0xbc, 0xbf),
    vector(V128, &[V128], 0xc0, 0xc1),
    vector(V128, &[V128], 0xc7, 0xca),
    vector(V128, &[V128, I32], 0xcb, 0xcd),
    vector(V128, &[V128, V128], 0xce, 0xce),
    vector(V128, &[V128, V128], 0xd1, 0xd1),
    vector(V128, &[V128, V128], 0xd5, 0xdf),
    vector(V128, &[V128], 0xe0, 0xe1),
    vector(V128, &[V128], 0xe3, 0xe3), // f32x4.sqrt
    vector(V128, &[V128, V128], 0xe4, 0xeb),
    vector(V128, &[V128], 0xec, 0xed),
    vector(V128, &[V128], 0xef, 0xef), // f64x2.sqrt
    vector(V128, &[V128, V128], 0xf0, 0xf7),
    vector(V128, &[V128], 0xf8, 0xff), // conversions
];

/// What rounds, overflows or is none: as bits.
const EDGES32: [u32; 14] = [
    0, 0x8000_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffc0_0000, 0x7fa0_0001, 0xffc1_2345, 1, 0x3f00_0000,
    0x4b00_0001, 0x4f00_0000, 0xcf00_0001, 0x5f80_0000,
];
const EDGES64: [u64; 14] = [
    0, 1 << 63, 0x7ff0 << 48, 0xfff0 << 48, 0x7ff8 << 48, 0xfff8 << 48, 0x7ff4_0000_0000_0001, 0xfff8_1234_5678_9abc,
    1, 0x3fe0 << 48, 0x4330_0000_0000_0001, 0x41e0 << 48, 0xc3e0_0000_0000_0001, 0x47f0 << 48,
];

/// A function of PARAMS that gives `result`.
pub fn body(result: ValType, dice: &mut Dice) -> Function {
    let mut function = Function::new([]);
    let depth = dice.between(1, 4);
    expression(&mut function, result, depth, dice);
    function.instructions().end();
    function
}

fn expression(function: &mut Function, result: ValType, depth: u32, dice: &mut Dice) {
    if depth == 0 || dice.chance(1, 8) {
        return leaf(function, result, dice);
    }
    if dice.chance(1, 16) {
        expression(function, result, depth - 1, dice);
        expression(function, result, depth - 1, dice);
        expression(function, ValType::I32, depth - 1, dice);
        // The plain one takes no vectors.
        function.instructions().typed_select(result);
        return;
    }
    let row = draw_row(result, dice);
    for &operand in row.operands {
        expression(function, operand, depth - 1, dice);
    }
    let opcode = row.first + dice.below(row.last - row.first + 1);
    match row.prefix {
        0 => function.raw([opcode as u8]),
        // LEB128 of two bytes, which is allowed for a small number, too.
        prefix => function.raw([prefix, opcode as u8 | 0x80, (opcode >> 7) as u8]),
    };
    if row.lanes != 0 {
        function.raw([dice.below(row.lanes) as u8]);
    }
}

/// Each instruction is as likely as another.
fn draw_row(result: ValType, dice: &mut Dice) -> &'static Row {
    let fitting = || ROWS.iter().filter(|row| row.result == result);
    let all = fitting().map(|row| row.last - row.first + 1).sum();
    let mut number = dice.below(all);
    for row in fitting() {
        let instructions = row.last - row.first + 1;
        if number < instructions {
            return row;
        }
        number -= instructions;
    }
    unreachable!("a number below their sum falls into one")
}

fn leaf(function: &mut Function, ty: ValType, dice: &mut Dice) {
    let param = PARAMS.iter().position(|&param| param == ty).expect("a number") as u32;
    let mut sink = function.instructions();
    if dice.chance(2, 3) {
        sink.local_get(param);
        return;
    }
    match ty {
        I32 => sink.i32_const(bits32(dice) as i32),
        I64 => sink.i64_const(bits64(dice) as i64),
        F32 => sink.f32_const(f32::from_bits(bits32(dice)).into()),
        F64 => sink.f64_const(f64::from_bits(bits64(dice)).into()),
        _ => sink.v128_const((i128::from(bits64(dice)) << 64) | i128::from(bits64(dice))),
    };
}

fn bits32(dice: &mut Dice) -> u32 {
    if dice.chance(1, 2) { dice.pick(&EDGES32) } else { dice.bits32() }
}

/// For a vector, also two numbers of half the length.
fn bits64(dice: &mut Dice) -> u64 {
    match dice.below(4) {
        0 => dice.bits64(),
        1 => (u64::from(dice.pick(&EDGES32)) << 32) | u64::from(dice.pick(&EDGES32)),
        _ => dice.pick(&EDGES64),
    }
}
