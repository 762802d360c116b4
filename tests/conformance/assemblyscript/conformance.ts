// The guest of the conformance table in AssemblyScript: each function gives back what it gets.
import { bytes, release, returnBytes, returnText, text } from "../../../guests/assemblyscript/spore";
export { cabi_realloc } from "../../../guests/assemblyscript/spore";

export function echo_bool(v: bool): bool {
  return v;
}
export function echo_s8(v: i8): i8 {
  return v;
}
export function echo_u8(v: u8): u8 {
  return v;
}
export function echo_s16(v: i16): i16 {
  return v;
}
export function echo_u16(v: u16): u16 {
  return v;
}
export function echo_s32(v: i32): i32 {
  return v;
}
export function echo_u32(v: u32): u32 {
  return v;
}
export function echo_s64(v: i64): i64 {
  return v;
}
export function echo_u64(v: u64): u64 {
  return v;
}
export function echo_f32(v: f32): f32 {
  return v;
}
export function echo_f64(v: f64): f64 {
  return v;
}
export function echo_char(v: u32): u32 {
  return v;
}

export function echo_string(data: usize, size: usize): usize {
  return returnText(text(data, size));
}
export function cabi_post_echo_string(area: usize): void {
  release();
}

export function echo_bytes(data: usize, size: usize): usize {
  return returnBytes(bytes(data, size));
}
export function cabi_post_echo_bytes(area: usize): void {
  release();
}
