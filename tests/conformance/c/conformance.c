// The guest of the conformance table in C, without a C library: each function gives back what it gets.
#include "../../../guests/c/spore.h"

typedef struct {
  uint64_t id;
  spore_string name;
  double price;
  spore_list_string tags;
} item;
typedef struct {
  int32_t first;
  spore_string second;
} tuple;
typedef struct {
  spore_string first;
  item second;
} named_item;

// Flat: one parameter for each field, of strings and lists two, of options and results one more that tells
// which.
typedef SPORE_LIST(int32_t) spore_c_list_s32;
#define SPORE_FLAT_list_s32(n) int32_t *n##_data, size_t n##_size
#define SPORE_LIFT_list_s32(n) ((spore_c_list_s32){n##_data, n##_size})
typedef spore_list_string spore_c_list_string;
#define SPORE_FLAT_list_string(n) spore_string *n##_data, size_t n##_size
#define SPORE_LIFT_list_string(n) ((spore_c_list_string){n##_data, n##_size})
typedef SPORE_LIST(item) spore_c_list_item;
#define SPORE_FLAT_list_item(n) item *n##_data, size_t n##_size
#define SPORE_LIFT_list_item(n) ((spore_c_list_item){n##_data, n##_size})
typedef spore_option_f64 spore_c_option_f64;
#define SPORE_FLAT_option_f64(n) int32_t n##_is_some, double n##_value
#define SPORE_LIFT_option_f64(n) ((spore_c_option_f64){n##_is_some != 0, n##_value})
typedef spore_option_string spore_c_option_string;
#define SPORE_FLAT_option_string(n) int32_t n##_is_some, SPORE_FLAT_string(n##_value)
#define SPORE_LIFT_option_string(n) ((spore_c_option_string){n##_is_some != 0, SPORE_LIFT_string(n##_value)})
typedef item spore_c_item;
#define SPORE_FLAT_item(n) \
  uint64_t n##_id, SPORE_FLAT_string(n##_name), double n##_price, SPORE_FLAT_list_string(n##_tags)
#define SPORE_LIFT_item(n) \
  ((item){n##_id, SPORE_LIFT_string(n##_name), n##_price, SPORE_LIFT_list_string(n##_tags)})
typedef tuple spore_c_tuple;
#define SPORE_FLAT_tuple(n) int32_t n##_first, SPORE_FLAT_string(n##_second)
#define SPORE_LIFT_tuple(n) ((tuple){n##_first, SPORE_LIFT_string(n##_second)})
typedef uint8_t spore_c_color;
#define SPORE_FLAT_color(n) int32_t n
#define SPORE_LIFT_color(n) ((spore_c_color)(n))
typedef SPORE_OPTION(named_item) option_named_item;
typedef SPORE_LIST(option_named_item) spore_c_nested;
#define SPORE_FLAT_nested(n) option_named_item *n##_data, size_t n##_size
#define SPORE_LIFT_nested(n) ((spore_c_nested){n##_data, n##_size})
// Of both cases the wider flat type: an s64 and a pointer share an i64.
typedef SPORE_RESULT(int64_t, spore_string) spore_c_result;
#define SPORE_FLAT_result(n) int32_t n##_is_error, int64_t n##_first, size_t n##_second
#define SPORE_LIFT_result(n) to_result(n##_is_error, n##_first, n##_second)
static spore_c_result to_result(int32_t is_error, int64_t first, size_t second) {
  spore_c_result result = {.is_error = is_error != 0};
  if (is_error) {
    result.error = (spore_string){(const uint8_t*)(size_t)first, second};
  } else {
    result.ok = first;
  }
  return result;
}

#define ECHO(type, name)                                            \
  static spore_c_##type echo_##type(spore_c_##type v) { return v; } \
  SPORE_EXPORT("echo-" name, echo_##type, type, type)
#define ECHO_MEMORY(type, name)                                     \
  static spore_c_##type echo_##type(spore_c_##type v) { return v; } \
  SPORE_EXPORT_MEMORY("echo-" name, echo_##type, type, type)

ECHO(bool, "bool")
ECHO(s8, "s8")
ECHO(u8, "u8")
ECHO(s16, "s16")
ECHO(u16, "u16")
ECHO(s32, "s32")
ECHO(u32, "u32")
ECHO(s64, "s64")
ECHO(u64, "u64")
ECHO(f32, "f32")
ECHO(f64, "f64")
ECHO(char, "char")
ECHO_MEMORY(string, "string")
ECHO_MEMORY(bytes, "bytes")
ECHO_MEMORY(list_s32, "list-s32")
ECHO_MEMORY(list_string, "list-string")
ECHO_MEMORY(list_item, "list-item")
ECHO_MEMORY(option_f64, "option-f64")
ECHO_MEMORY(option_string, "option-string")
ECHO_MEMORY(result, "result")
ECHO_MEMORY(tuple, "tuple")
ECHO_MEMORY(item, "item")
ECHO(color, "color")
ECHO_MEMORY(nested, "nested")

typedef struct {
  item a, b, c;
  spore_string d;
} many_params;

static spore_string many(const void* params) {
  const many_params* p = params;
  const spore_string parts[] = {p->a.name, p->b.name, p->c.name, p->d};
  size_t size = 3;
  for (int i = 0; i < 4; i++) size += parts[i].size;
  uint8_t* text = spore_alloc(size);
  uint8_t* to = text;
  for (int i = 0; i < 4; i++) {
    if (i > 0) *to++ = '+';
    for (size_t k = 0; k < parts[i].size; k++) *to++ = parts[i].data[k];
  }
  return (spore_string){text, size};
}
SPORE_EXPORT_MEMORY("many", many, string, pointer)
