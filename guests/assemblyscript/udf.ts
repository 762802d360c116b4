// Three typed functions: how alike two texts are, how far two places, and a rule of prices over a document.
import { getBool, getF64, getS64, getString, text } from "./spore";
export { cabi_realloc } from "./spore";

// Sørensen and Dice's: twice the bigrams that both have, of all.
export function similarity(a: usize, aSize: usize, b: usize, bSize: usize): f64 {
  const first = codePoints(text(a, aSize)), second = codePoints(text(b, bSize));
  if (equal(first, second)) return 1;
  if (first.length < 2 || second.length < 2) return 0;
  const ofFirst = bigrams(first), ofSecond = bigrams(second);
  let common = 0;
  for (let i = 0, k = 0; i < ofFirst.length && k < ofSecond.length; ) {
    const x = ofFirst[i], y = ofSecond[k];
    if (x == y) common++;
    if (x <= y) i++;
    if (y <= x) k++;
  }
  return (2 * <f64>common) / (<f64>ofFirst.length + <f64>ofSecond.length);
}

// Those of ASCII in lower case.
function codePoints(text: string): Array<u32> {
  const points = new Array<u32>();
  for (let i = 0; i < text.length; i++) {
    const point = <u32>text.codePointAt(i);
    if (point > 0xffff) i++; // two units
    points.push(point >= 0x41 && point <= 0x5a ? point + 32 : point);
  }
  return points;
}

function equal(a: Array<u32>, b: Array<u32>): bool {
  return a.length == b.length && memory.compare(a.dataStart, b.dataStart, <usize>a.length * 4) == 0;
}

// All pairs of neighbours, sorted.
function bigrams(points: Array<u32>): Array<u64> {
  const pairs = new Array<u64>(points.length - 1);
  for (let i = 0; i < pairs.length; i++) pairs[i] = (<u64>points[i] << 32) | points[i + 1];
  return pairs.sort((x, y) => i32(x > y) - i32(x < y));
}

// In km, by the haversine formula.
export function distance(lat1: f64, lon1: f64, lat2: f64, lon2: f64): f64 {
  const radius = 6371.0088, degree = Math.PI / 180;
  const x = Math.sin(((lat2 - lat1) * degree) / 2), y = Math.sin(((lon2 - lon1) * degree) / 2);
  const h = x * x + Math.cos(lat1 * degree) * Math.cos(lat2 * degree) * y * y;
  return 2 * radius * Math.asin(Math.sqrt(Math.min(h, 1)));
}

// The document's own price, if it has one, with what the rules make of it.
export function price(base: f64): f64 {
  const amount = getF64("price.amount"), member = getBool("member"), stock = getS64("stock");
  let price = amount ? amount.value : base;
  if (member && member.value) price *= 0.9;
  if (getString("category") == "book") price *= 0.95;
  if (stock && stock.value < 3) price *= 1.2;
  if (getString("tags[0]") == "sale") price *= 0.5;
  return price;
}
