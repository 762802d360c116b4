// What typed functions for Spore in AssemblyScript are written with: this file, and spore.mjs, which names the exports.  It
// implements the Component Model's canonical ABI, by which strings and bytes cross to a core module, and wraps the document of a
// search or row.
//
//   import { text, returnText, release } from "./spore";
//   export { cabi_realloc } from "./spore";  // the host asks it for memory
//
//   export function rank(data: usize, size: usize, boost: f64): f64 {  // rank: func(text: string, boost: f64) -> f64
//     return text(data, size).length * boost;
//   }
//   export function shout(data: usize, size: usize): usize {           // shout: func(text: string) -> string
//     return returnText(text(data, size).toUpperCase());
//   }
//   export function cabi_post_shout(area: usize): void { release(); }  // the host has read the result
//
// Types: bool, s8 ... s64 are bool, i8 ... i64; u8 ... u64 and f32, f64 are named alike; char is u32; a string or list<u8> is two
// parameters.

// Memory that the host writes parameters into: outside of the garbage collector's, freed when they are taken.
export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  if (oldSize == 0) return size == 0 ? align : heap.alloc(size);
  return heap.realloc(old, size);
}

// A parameter that is a string; to be called once for each.
export function text(data: usize, size: usize): string {
  if (size == 0) return "";
  const result = String.UTF8.decodeUnsafe(data, size);
  heap.free(data);
  return result;
}

// A parameter that is a list<u8>; to be called once for each.
export function bytes(data: usize, size: usize): Uint8Array {
  const result = new Uint8Array(<i32>size);
  if (size == 0) return result;
  memory.copy(result.dataStart, data, size);
  heap.free(data);
  return result;
}

// The result: its address and size.
const area = memory.data(8);

// For the end of a function whose result is a string.  cabi_post_NAME is to call release().
export function returnText(result: string): usize {
  const size = String.UTF8.byteLength(result);
  const data = size == 0 ? <usize>0 : heap.alloc(size);
  String.UTF8.encodeUnsafe(changetype<usize>(result), result.length, data);
  return returnArea(data, size);
}

// The same for a list<u8>.
export function returnBytes(result: Uint8Array): usize {
  const size = <usize>result.length;
  const data = size == 0 ? <usize>0 : heap.alloc(size);
  memory.copy(data, result.dataStart, size);
  return returnArea(data, size);
}

function returnArea(data: usize, size: usize): usize {
  store<u32>(area, <u32>data);
  store<u32>(area, <u32>size, 4);
  return area;
}

// Frees the result.
export function release(): void {
  if (load<u32>(area, 4) != 0) heap.free(load<u32>(area));
  returnArea(0, 0);
}

// --- the document that a function is called for; names are paths: price.amount, tags[0] ---

// @ts-ignore: decorator
@external("spore:document/fields", "get-string") declare function getStringTo(name: usize, size: usize, value: usize): void;
// @ts-ignore: decorator
@external("spore:document/fields", "get-s64") declare function getS64To(name: usize, size: usize, value: usize): void;
// @ts-ignore: decorator
@external("spore:document/fields", "get-f64") declare function getF64To(name: usize, size: usize, value: usize): void;
// @ts-ignore: decorator
@external("spore:document/fields", "get-bool") declare function getBoolTo(name: usize, size: usize, value: usize): void;
// @ts-ignore: decorator
@external("spore:document/fields", "get-bytes") declare function getBytesTo(name: usize, size: usize, value: usize): void;
// @ts-ignore: decorator
@external("spore:document/fields", "document-id") declare function documentIdTo(value: usize): void;
// @ts-ignore: decorator
@external("spore:document/fields", "score") declare function theScore(): f64;
// @ts-ignore: decorator
@external("spore:document/fields", "field-names") declare function fieldNamesTo(value: usize): void;

// Where the host puts what it answers: 0 or 1, and the value behind it.
const answer = memory.data(16, 8);

// A field's value, in a class as numbers have no null.
export class Some<T> {
  constructor(public value: T) {}
}

// The field's text; null: it is absent or no string.
export function getString(name: string): string | null {
  const utf8 = String.UTF8.encode(name);
  getStringTo(changetype<usize>(utf8), <usize>utf8.byteLength, answer);
  return load<u8>(answer) == 0 ? null : text(load<u32>(answer, 4), load<u32>(answer, 8));
}

// The same for an s64.
export function getS64(name: string): Some<i64> | null {
  const utf8 = String.UTF8.encode(name);
  getS64To(changetype<usize>(utf8), <usize>utf8.byteLength, answer);
  return load<u8>(answer) == 0 ? null : new Some<i64>(load<i64>(answer, 8));
}

// The same for an f64.
export function getF64(name: string): Some<f64> | null {
  const utf8 = String.UTF8.encode(name);
  getF64To(changetype<usize>(utf8), <usize>utf8.byteLength, answer);
  return load<u8>(answer) == 0 ? null : new Some<f64>(load<f64>(answer, 8));
}

// The same for a bool.
export function getBool(name: string): Some<bool> | null {
  const utf8 = String.UTF8.encode(name);
  getBoolTo(changetype<usize>(utf8), <usize>utf8.byteLength, answer);
  return load<u8>(answer) == 0 ? null : new Some<bool>(load<u8>(answer, 1) != 0);
}

// The same for a list<u8>.
export function getBytes(name: string): Uint8Array | null {
  const utf8 = String.UTF8.encode(name);
  getBytesTo(changetype<usize>(utf8), <usize>utf8.byteLength, answer);
  return load<u8>(answer) == 0 ? null : bytes(load<u32>(answer, 4), load<u32>(answer, 8));
}

// Empty where it has none.
export function documentId(): string {
  documentIdTo(answer);
  return text(load<u32>(answer), load<u32>(answer, 4));
}

export function score(): f64 {
  return theScore();
}

export function fieldNames(): string[] {
  fieldNamesTo(answer);
  const list = <usize>load<u32>(answer), size = <i32>load<u32>(answer, 4);
  const names = new Array<string>(size);
  for (let i = 0; i < size; i++) {
    const at = list + <usize>i * 8;
    names[i] = text(load<u32>(at), load<u32>(at, 4));
  }
  if (size > 0) heap.free(list);
  return names;
}
