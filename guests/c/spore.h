// Typed functions for Spore in C: this file is all that a guest needs.  It implements the Component Model's
// canonical ABI (how strings, lists, records ... cross to a core module) and wraps the document of a search
// or row.
//
//   static double rank(spore_string text, double boost) { return text.size * boost; }
//   SPORE_EXPORT("rank", rank, f64, string, f64)      // rank: func(text: string, boost: f64) -> f64
//
//   static spore_string shout(spore_string text) { ... }
//   SPORE_EXPORT_MEMORY("shout", shout, string, string)  // the result lies in memory: string, list, record,
//   option ...
//
// Types of parameters: bool s8 u8 s16 u16 s32 u32 s64 u64 f32 f64 char string bytes; others are added as at
// SPORE_FLAT_string.
//
// Memory: what a call is given and what it takes by spore_alloc() is freed, all at once, when the call is
// over, its result when the host has read it.  Nothing is freed singly.  What is to outlive a call has to be
// copied into memory that is yours: static, or malloc's.
//
// Works with a C library (clang --target=wasm32-wasi -mexec-model=reactor) and without (--target=wasm32
// -nostdlib -Wl,--no-entry). To be included by one file of the guest; by others with SPORE_DECLARATIONS_ONLY
// defined.
#ifndef SPORE_H
#define SPORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// --- types
// -----------------------------------------------------------------------------------------------------------
// In memory, records, tuples, options, results and lists of the canonical ABI look as these structs do on
// wasm32.

// UTF-8, not ended by a zero, and may have zeros inside.
typedef struct {
  const uint8_t* data;
  size_t size;
} spore_string;

typedef struct {
  const uint8_t* data;
  size_t size;
} spore_bytes;

typedef uint32_t spore_char;  // a Unicode scalar value

// To be used in a typedef: typedef SPORE_OPTION(double) option_f64;
#define SPORE_LIST(type) \
  struct {               \
    type* data;          \
    size_t size;         \
  }
#define SPORE_OPTION(type) \
  struct {                 \
    bool is_some;          \
    type value;            \
  }
#define SPORE_RESULT(ok_type, error_type) \
  struct {                                \
    bool is_error;                        \
    union {                               \
      ok_type ok;                         \
      error_type error;                   \
    };                                    \
  }

typedef SPORE_LIST(spore_string) spore_list_string;
typedef SPORE_OPTION(spore_string) spore_option_string;
typedef SPORE_OPTION(spore_bytes) spore_option_bytes;
typedef SPORE_OPTION(int64_t) spore_option_s64;
typedef SPORE_OPTION(double) spore_option_f64;
typedef SPORE_OPTION(bool) spore_option_bool;

// A string constant as a spore_string.
#define SPORE_TEXT(literal) ((spore_string){(const uint8_t*)("" literal), sizeof(literal) - 1})

// --- memory
// ----------------------------------------------------------------------------------------------------------

// Memory until the end of the call, aligned to 16 bytes, not zeroed.  Never null: where there is none left,
// the guest traps.
void* spore_alloc(size_t size);

// Frees all of it; SPORE_EXPORT does so.
void spore_free_all(void);

// Ends the call by a trap.
_Noreturn static inline void spore_trap(void) { __builtin_trap(); }

// --- text
// ------------------------------------------------------------------------------------------------------------

static inline bool spore_equal(spore_string a, spore_string b) {
  if (a.size != b.size) return false;
  for (size_t i = 0; i < a.size; i++) {
    if (a.data[i] != b.data[i]) return false;
  }
  return true;
}

// The code point that begins at *at, which then stands behind it: for (size_t at = 0; at < s.size;)
// spore_next(s, &at).
static inline spore_char spore_next(spore_string text, size_t* at) {
  const uint8_t* p = text.data + *at;
  const size_t size = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
  if (size > text.size - *at) spore_trap();  // not UTF-8: a host never does that
  *at += size;
  switch (size) {
    case 1: return p[0];
    case 2: return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    case 3: return (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    default: return (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
  }
}

// How many code points it has.
static inline size_t spore_length(spore_string text) {
  size_t length = 0;
  for (size_t i = 0; i < text.size; i++) length += (text.data[i] & 0xc0) != 0x80;
  return length;
}

// --- the document
// ---------------------------------------------------------------------------------------------------- That
// the function is called for.  Names are paths: SPORE_TEXT("price.amount"), SPORE_TEXT("tags[0]").  What is
// not used is not imported.

#define SPORE_DOCUMENT(name) __attribute__((import_module("spore:document/fields"), import_name(name)))
SPORE_DOCUMENT("get-string") void spore_import_get_string(const uint8_t*, size_t, spore_option_string*);
SPORE_DOCUMENT("get-s64") void spore_import_get_s64(const uint8_t*, size_t, spore_option_s64*);
SPORE_DOCUMENT("get-f64") void spore_import_get_f64(const uint8_t*, size_t, spore_option_f64*);
SPORE_DOCUMENT("get-bool") void spore_import_get_bool(const uint8_t*, size_t, spore_option_bool*);
SPORE_DOCUMENT("get-bytes") void spore_import_get_bytes(const uint8_t*, size_t, spore_option_bytes*);
SPORE_DOCUMENT("document-id") void spore_import_document_id(spore_string*);
SPORE_DOCUMENT("score") double spore_import_score(void);
SPORE_DOCUMENT("field-names") void spore_import_field_names(spore_list_string*);

static inline spore_option_string spore_get_string(spore_string name) {
  spore_option_string value;
  spore_import_get_string(name.data, name.size, &value);
  return value;
}

static inline spore_option_s64 spore_get_s64(spore_string name) {
  spore_option_s64 value;
  spore_import_get_s64(name.data, name.size, &value);
  return value;
}

static inline spore_option_f64 spore_get_f64(spore_string name) {
  spore_option_f64 value;
  spore_import_get_f64(name.data, name.size, &value);
  return value;
}

static inline spore_option_bool spore_get_bool(spore_string name) {
  spore_option_bool value;
  spore_import_get_bool(name.data, name.size, &value);
  return value;
}

static inline spore_option_bytes spore_get_bytes(spore_string name) {
  spore_option_bytes value;
  spore_import_get_bytes(name.data, name.size, &value);
  return value;
}

// Empty where it has none.
static inline spore_string spore_document_id(void) {
  spore_string id;
  spore_import_document_id(&id);
  return id;
}

static inline double spore_score(void) { return spore_import_score(); }

static inline spore_list_string spore_field_names(void) {
  spore_list_string names;
  spore_import_field_names(&names);
  return names;
}

// --- exports
// ---------------------------------------------------------------------------------------------------------
// A parameter crosses as one or more flat values.  For each type: SPORE_FLAT_type(n), the flat parameters
// that n becomes, and SPORE_LIFT_type(n), the value that is made of them.  A guest adds types of its own by
// defining the two.

#define SPORE_FLAT_bool(n) int32_t n
#define SPORE_LIFT_bool(n) ((n) != 0)
#define SPORE_FLAT__Bool(n) int32_t n  // what <stdbool.h> makes of bool
#define SPORE_LIFT__Bool(n) ((n) != 0)
#define SPORE_FLAT_s8(n) int32_t n
#define SPORE_LIFT_s8(n) ((int8_t)(n))
#define SPORE_FLAT_u8(n) int32_t n
#define SPORE_LIFT_u8(n) ((uint8_t)(n))
#define SPORE_FLAT_s16(n) int32_t n
#define SPORE_LIFT_s16(n) ((int16_t)(n))
#define SPORE_FLAT_u16(n) int32_t n
#define SPORE_LIFT_u16(n) ((uint16_t)(n))
#define SPORE_FLAT_s32(n) int32_t n
#define SPORE_LIFT_s32(n) (n)
#define SPORE_FLAT_u32(n) uint32_t n
#define SPORE_LIFT_u32(n) (n)
#define SPORE_FLAT_s64(n) int64_t n
#define SPORE_LIFT_s64(n) (n)
#define SPORE_FLAT_u64(n) uint64_t n
#define SPORE_LIFT_u64(n) (n)
#define SPORE_FLAT_f32(n) float n
#define SPORE_LIFT_f32(n) (n)
#define SPORE_FLAT_f64(n) double n
#define SPORE_LIFT_f64(n) (n)
#define SPORE_FLAT_char(n) spore_char n
#define SPORE_LIFT_char(n) (n)
#define SPORE_FLAT_string(n) const uint8_t *n##_data, size_t n##_size
#define SPORE_LIFT_string(n) ((spore_string){n##_data, n##_size})
#define SPORE_FLAT_bytes(n) const uint8_t *n##_data, size_t n##_size
#define SPORE_LIFT_bytes(n) ((spore_bytes){n##_data, n##_size})

// More than 16 flat parameters cross in memory: then `pointer` is the only type, and the function takes a
// const void* to the struct that the parameters make.
#define SPORE_FLAT_pointer(n) const void* n
#define SPORE_LIFT_pointer(n) (n)

typedef _Bool spore_c_bool;
typedef _Bool spore_c__Bool;
typedef int8_t spore_c_s8;
typedef uint8_t spore_c_u8;
typedef int16_t spore_c_s16;
typedef uint16_t spore_c_u16;
typedef int32_t spore_c_s32;
typedef uint32_t spore_c_u32;
typedef int64_t spore_c_s64;
typedef uint64_t spore_c_u64;
typedef float spore_c_f32;
typedef double spore_c_f64;
typedef spore_char spore_c_char;
typedef spore_string spore_c_string;
typedef spore_bytes spore_c_bytes;

// SPORE_EXPORT("wit-name", function, result, parameter...): up to 8 parameters; the result is a bool, a
// number or a char.
#define SPORE_EXPORT(name, function, result, ...)                                  \
  __attribute__((export_name(name))) spore_c_##result spore_export_##function(     \
      SPORE_EACH(SPORE_FLAT_, __VA_ARGS__)) {                                      \
    const spore_c_##result value = function(SPORE_EACH(SPORE_LIFT_, __VA_ARGS__)); \
    spore_free_all();                                                              \
    return value;                                                                  \
  }

// The same for all other results: a string, bytes, list, record, tuple, option, result.  `result` is the name
// of a type TYPE that is known as spore_c_TYPE.
#define SPORE_EXPORT_MEMORY(name, function, result, ...)                                               \
  __attribute__((export_name(name))) spore_c_##result* spore_export_##function(                        \
      SPORE_EACH(SPORE_FLAT_, __VA_ARGS__)) {                                                          \
    spore_c_##result* const area = spore_alloc(sizeof(spore_c_##result));                              \
    *area = function(SPORE_EACH(SPORE_LIFT_, __VA_ARGS__));                                            \
    return area;                                                                                       \
  }                                                                                                    \
  __attribute__((export_name("cabi_post_" name))) void spore_post_##function(spore_c_##result* area) { \
    (void)area;                                                                                        \
    spore_free_all();                                                                                  \
  }

#define SPORE_EACH(m, ...) \
  SPORE_COUNT(0 __VA_OPT__(, ) __VA_ARGS__, 8, 7, 6, 5, 4, 3, 2, 1, 0)(m __VA_OPT__(, ) __VA_ARGS__)
#define SPORE_COUNT(zero, a, b, c, d, e, f, g, h, n, ...) SPORE_EACH_##n
#define SPORE_EACH_0(m)
#define SPORE_EACH_1(m, a) m##a(p1)
#define SPORE_EACH_2(m, a, b) SPORE_EACH_1(m, a), m##b(p2)
#define SPORE_EACH_3(m, a, b, c) SPORE_EACH_2(m, a, b), m##c(p3)
#define SPORE_EACH_4(m, a, b, c, d) SPORE_EACH_3(m, a, b, c), m##d(p4)
#define SPORE_EACH_5(m, a, b, c, d, e) SPORE_EACH_4(m, a, b, c, d), m##e(p5)
#define SPORE_EACH_6(m, a, b, c, d, e, f) SPORE_EACH_5(m, a, b, c, d, e), m##f(p6)
#define SPORE_EACH_7(m, a, b, c, d, e, f, g) SPORE_EACH_6(m, a, b, c, d, e, f), m##g(p7)
#define SPORE_EACH_8(m, a, b, c, d, e, f, g, h) SPORE_EACH_7(m, a, b, c, d, e, f, g), m##h(p8)

// --- implementation
// --------------------------------------------------------------------------------------------------
#ifndef SPORE_DECLARATIONS_ONLY

// Chunks, filled one after the other, kept for the next call.  The first is static, so that most calls never
// grow the memory.
#define SPORE_PAGE 65536u
typedef struct spore_chunk {
  struct spore_chunk* next;
  uint8_t* at;
  uint8_t* end;
} spore_chunk;
static _Alignas(16) uint8_t spore_first_bytes[16384];
static spore_chunk spore_first = {0, spore_first_bytes, spore_first_bytes + sizeof spore_first_bytes};
static spore_chunk* spore_current = &spore_first;

static uint8_t* spore_begin_of(spore_chunk* chunk) {
  return chunk == &spore_first ? spore_first_bytes : (uint8_t*)chunk + ((sizeof *chunk + 15) & ~(size_t)15);
}

static spore_chunk* spore_new_chunk(size_t size) {
  size_t pages = size / SPORE_PAGE + 2;  // its own head, and a rest
  const size_t now = __builtin_wasm_memory_size(0);
  size_t from = SIZE_MAX;
  if (pages < now && now < 1024)
    from = __builtin_wasm_memory_grow(0, now);  // twice as much: it will not be the last
  if (from != SIZE_MAX)
    pages = now;
  else
    from = __builtin_wasm_memory_grow(0, pages);
  if (from == SIZE_MAX) spore_trap();
  spore_chunk* chunk = (spore_chunk*)(from * SPORE_PAGE);
  chunk->next = 0;
  chunk->end = (uint8_t*)chunk + (pages * SPORE_PAGE - 16);  // so that no address is 2^32, which is 0
  chunk->at = spore_begin_of(chunk);
  return chunk;
}

void* spore_alloc(size_t size) {
  if (size > SIZE_MAX - 2 * SPORE_PAGE) spore_trap();
  size = (size + 15) & ~(size_t)15;
  while ((size_t)(spore_current->end - spore_current->at) < size) {
    spore_chunk* next = spore_current->next;
    if (!next || (size_t)(next->end - spore_begin_of(next)) < size) {
      spore_chunk* chunk = spore_new_chunk(size);
      chunk->next = next;
      spore_current->next = next = chunk;
    }
    next->at = spore_begin_of(next);
    spore_current = next;
  }
  uint8_t* memory = spore_current->at;
  spore_current->at += size;
  return memory;
}

void spore_free_all(void) {
  spore_current = &spore_first;
  spore_current->at = spore_first_bytes;
}

// What the host calls for memory: all that it writes comes from here.
__attribute__((export_name("cabi_realloc"))) void* spore_cabi_realloc(void* old, size_t old_size,
                                                                      size_t align, size_t size) {
  if (align > 16) spore_trap();
  uint8_t* memory = spore_alloc(size);
  const uint8_t* from = old;
  for (size_t i = 0; i < old_size && i < size; i++) memory[i] = from[i];
  return memory;
}

// Clang calls these of its own accord, also where there is no C library.
#ifndef __wasi__
__attribute__((weak)) void* memcpy(void* to, const void* from, size_t size) {
  for (size_t i = 0; i < size; i++) {
    ((volatile uint8_t*)to)[i] = ((const uint8_t*)from)[i];
  }
  return to;
}

__attribute__((weak)) void* memset(void* to, int value, size_t size) {
  for (size_t i = 0; i < size; i++) ((volatile uint8_t*)to)[i] = (uint8_t)value;
  return to;
}
#endif

#endif  // SPORE_DECLARATIONS_ONLY
#endif  // SPORE_H
