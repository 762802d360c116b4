// Three typed functions: how alike two texts are, how far two places, and a rule of prices over a document.
#include <math.h>

#include "spore.h"

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

static bool equal_but_for_case(spore_string a, spore_string b) {
  if (a.size != b.size) return false;
  for (size_t i = 0; i < a.size; i++) {
    if (lower(a.data[i]) != lower(b.data[i])) return false;
  }
  return true;
}

// Shell's sort.
static void sort(uint64_t* values, size_t count) {
  size_t gap = 1;
  while (gap < count / 3) gap = 3 * gap + 1;
  for (; gap > 0; gap /= 3) {
    for (size_t i = gap; i < count; i++) {
      const uint64_t value = values[i];
      size_t at = i;
      for (; at >= gap && values[at - gap] > value; at -= gap) values[at] = values[at - gap];
      values[at] = value;
    }
  }
}

typedef SPORE_LIST(uint64_t) list_u64;

// All pairs of neighbouring code points, in lower case, sorted.
static list_u64 bigrams(spore_string text) {
  list_u64 pairs = {spore_alloc(text.size * sizeof(uint64_t)), 0};
  uint64_t previous = 0;
  for (size_t at = 0; at < text.size;) {
    const bool first = at == 0;
    spore_char c = spore_next(text, &at);
    if (c < 128) c = lower((uint8_t)c);
    if (!first) pairs.data[pairs.size++] = previous << 32 | c;
    previous = c;
  }
  sort(pairs.data, pairs.size);
  return pairs;
}

// Sørensen and Dice's: twice the bigrams that both have, of all.
static double similarity(spore_string a, spore_string b) {
  if (equal_but_for_case(a, b)) return 1;
  const list_u64 of_a = bigrams(a), of_b = bigrams(b);
  if (of_a.size == 0 || of_b.size == 0) return 0;
  size_t common = 0;
  for (size_t i = 0, k = 0; i < of_a.size && k < of_b.size;) {
    const uint64_t x = of_a.data[i], y = of_b.data[k];
    common += x == y;
    i += x <= y;
    k += y <= x;
  }
  return 2.0 * common / (of_a.size + of_b.size);
}

// In km, by the haversine formula.
static double distance(double lat1, double lon1, double lat2, double lon2) {
  const double radius = 6371.0088, degree = 3.14159265358979323846 / 180;
  const double x = sin((lat2 - lat1) * degree / 2), y = sin((lon2 - lon1) * degree / 2);
  const double h = x * x + cos(lat1 * degree) * cos(lat2 * degree) * y * y;
  return 2 * radius * asin(sqrt(h < 1 ? h : 1));
}

// The document's own price, if it has one, with what the rules make of it.
static double price(double base) {
  const spore_option_f64 amount = spore_get_f64(SPORE_TEXT("price.amount"));
  const spore_option_bool member = spore_get_bool(SPORE_TEXT("member"));
  const spore_option_string category = spore_get_string(SPORE_TEXT("category"));
  const spore_option_s64 stock = spore_get_s64(SPORE_TEXT("stock"));
  const spore_option_string tag = spore_get_string(SPORE_TEXT("tags[0]"));

  double result = amount.is_some ? amount.value : base;
  if (member.is_some && member.value) result *= 0.9;
  if (category.is_some && spore_equal(category.value, SPORE_TEXT("book"))) result *= 0.95;
  if (stock.is_some && stock.value < 3) result *= 1.2;
  if (tag.is_some && spore_equal(tag.value, SPORE_TEXT("sale"))) result *= 0.5;
  return result;
}

SPORE_EXPORT("similarity", similarity, f64, string, string)
SPORE_EXPORT("distance", distance, f64, f64, f64, f64, f64)
SPORE_EXPORT("price", price, f64, f64)
