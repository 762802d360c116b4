import { text } from "./spore";
export { cabi_realloc } from "./spore";

// The length of the text in code points, times the boost.  Exported as @NAME@.
export function @IDENT@(data: usize, size: usize, boost: f64): f64 {
  const units = text(data, size);
  let length = 0;
  for (let i = 0; i < units.length; i++) {
    if ((units.charCodeAt(i) & 0xfc00) != 0xdc00) length++; // not the second half of a pair
  }
  return <f64>length * boost;
}
