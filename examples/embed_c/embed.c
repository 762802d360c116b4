/* A shop whose prices are other people's code: a program in C that uses the installed libspore. */
#include <stdio.h>
#include <string.h>

#include "spore.h"

/* price(base) asks for the row's discount, in percent; spin() never comes back. */
static const char kGuest[] =
    "(module"
    "  (import \"spore:document/fields\" \"get-s64\" (func $get (param i32 i32 i32)))"
    "  (memory (export \"memory\") 1)"
    "  (data (i32.const 16) \"discount\")"
    "  (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 1024))"
    "  (func (export \"price\") (param f64) (result f64)"
    "    (call $get (i32.const 16) (i32.const 8) (i32.const 64))"
    "    (f64.sub (local.get 0) (f64.mul (local.get 0)"
    "      (f64.div (f64.convert_i64_s (i64.load (i32.const 72))) (f64.const 100)))))"
    "  (func (export \"spin\") (result i32) (loop $again (br $again)) (i32.const 1)))";

struct row {
  int64_t discount;
};

static int row_field(void* data, const char* path, size_t path_size, spore_value* value) {
  const struct row* row = data;
  if (path_size != 8 || memcmp(path, "discount", 8) != 0) return 0;
  *value = spore_value_i64(row->discount);
  return 1;
}

/* Says what went wrong, if anything did. */
static int failed(spore_status* status) {
  if (status == NULL) return 0;
  printf("%s: %s\n", spore_code_name(spore_status_code(status)), spore_status_message(status));
  spore_status_free(status);
  return 1;
}

static int shop(spore_registry* registry, const uint8_t* wasm, size_t wasm_size) {
  spore_function* price = NULL;
  spore_function* spin = NULL;
  if (failed(spore_registry_add(registry, "{\"name\": \"price\", \"signature\": \"func(base: f64) -> f64\"}",
                                wasm, wasm_size, 0, &price)) ||
      failed(spore_registry_add(registry,
                                "{\"name\": \"spin\", \"signature\": \"func() -> s32\", \"deadline_ms\": 50}",
                                wasm, wasm_size, 0, &spin))) {
    spore_function_free(price);
    return 1;
  }
  const struct row rows[] = {{0}, {25}};
  for (size_t i = 0; i < 2; i++) {
    const spore_document document = {.data = (void*)&rows[i], .field = row_field};
    const spore_call_options options = {.document = &document};
    const spore_value base = spore_value_f64(40);
    spore_value result = spore_value_null();
    if (!failed(spore_function_call(price, &base, 1, &options, &result)))
      printf("price: %g\n", result.as.f64);
    spore_value_free(&result);
  }
  const spore_call_options options = {.document_json = "{\"discount\": 50}"};
  char* json = NULL;
  if (!failed(spore_function_call_json(price, "[40]", &options, &json))) printf("price: %s\n", json);
  spore_free(json);
  spore_value result = spore_value_null();
  failed(spore_function_call(spin, NULL, 0, NULL, &result));
  spore_function_free(price);
  spore_function_free(spin);
  return 0;
}

int main(void) {
  spore_runtime* runtime = NULL;
  spore_registry* registry = NULL;
  uint8_t* wasm = NULL;
  size_t wasm_size = 0;
  int broken = failed(spore_runtime_create(NULL, 0, &runtime)) ||
               failed(spore_registry_create(runtime, &registry)) ||
               failed(spore_text_to_wasm(kGuest, strlen(kGuest), &wasm, &wasm_size)) ||
               shop(registry, wasm, wasm_size);
  spore_free(wasm);
  spore_registry_free(registry);
  spore_runtime_free(runtime);
  return broken;
}
