// The command line and the environment.

#include "check.h"
#include "raw.h"

static uint32_t count_of_arguments(void) {
  __wasi_size_t count = 0;
  __wasi_size_t size = 0;
  OK(__wasi_args_sizes_get(&count, &size));
  return count;
}

// Run as: args.wasm arguments "" "two words" "\xc3\xbc\"\n" -x --dir
static void arguments(void) {
  static const char* const expected[] = {"args.wasm",    "arguments", "",     "two words",
                                         "\xc3\xbc\"\n", "-x",        "--dir"};
  __wasi_size_t count = 0;
  __wasi_size_t size = 0;
  OK(__wasi_args_sizes_get(&count, &size));
  CHECK(count == 7);
  size_t sum = 0;
  for (int i = 0; i < 7; i++) sum += strlen(expected[i]) + 1;
  CHECK(size == sum);

  static uint8_t* argv[8];
  static uint8_t buffer[256];
  memset(buffer, 0xee, sizeof buffer);
  argv[7] = buffer;
  OK(__wasi_args_get(argv, buffer));
  uint8_t* next = buffer;
  for (int i = 0; i < 7; i++) {
    CHECK(argv[i] == next);  // one behind the other
    CHECK(strcmp((const char*)argv[i], expected[i]) == 0);
    next += strlen(expected[i]) + 1;
  }
  CHECK(argv[7] == buffer);     // there is no null pointer at the end
  CHECK(buffer[size] == 0xee);  // nor anything behind the text
}

// Prints them, for tests of how the host takes its own command line apart.
static void print(void) {
  for (int i = 0; i < case_arguments_count; i++) printf("[%s]\n", case_arguments[i]);
}

static void argument_pointers(void) {
  static uint8_t buffer[256];
  static uint32_t pointers[16];
  const uint32_t end = memory_end();
  const uint32_t count = count_of_arguments();
  CHECK(count > 0);
  GIVES(raw_args_sizes_get(end, at(pointers)), FAULT);
  GIVES(raw_args_sizes_get(end - 2, at(pointers)), FAULT);
  GIVES(raw_args_sizes_get(at(pointers), end - 3), FAULT);
  GIVES(raw_args_sizes_get(at(pointers), 0xffffffff), FAULT);
  GIVES(raw_args_get(end, at(buffer)), FAULT);
  GIVES(raw_args_get(end - 4 * count + 1, at(buffer)), FAULT);
  GIVES(raw_args_get(0xfffffffc, at(buffer)), FAULT);
  GIVES(raw_args_get(at(pointers), end), FAULT);
  GIVES(raw_args_get(at(pointers), end - 1), FAULT);
  OK(raw_args_get(at(pointers), at(buffer)));
}

// Run with: --env A=1 --env EMPTY= --env EQUALS=a=b --env LINES="one\ntwo"
static void environment(void) {
  static const char* const expected[] = {"A=1", "EMPTY=", "EQUALS=a=b", "LINES=one\ntwo"};
  __wasi_size_t count = 0;
  __wasi_size_t size = 0;
  OK(__wasi_environ_sizes_get(&count, &size));
  CHECK(count == 4);
  size_t sum = 0;
  for (int i = 0; i < 4; i++) sum += strlen(expected[i]) + 1;
  CHECK(size == sum);
  static uint8_t* variables[5];
  static uint8_t buffer[256];
  OK(__wasi_environ_get(variables, buffer));
  for (int i = 0; i < 4; i++) {
    int found = 0;
    for (int j = 0; j < 4; j++) found += strcmp((const char*)variables[j], expected[i]) == 0;
    CHECK(found == 1);
  }
  CHECK(variables[4] == NULL);
  CHECK(strcmp(getenv("EQUALS"), "a=b") == 0);
}

// The host's own environment is nobody's business.
static void empty_environment(void) {
  __wasi_size_t count = 77;
  __wasi_size_t size = 77;
  OK(__wasi_environ_sizes_get(&count, &size));
  CHECK(count == 0 && size == 0);
  uint8_t* variable = (uint8_t*)&count;
  uint8_t byte = 0xee;
  OK(__wasi_environ_get(&variable, &byte));
  CHECK(variable == (uint8_t*)&count && byte == 0xee);
  CHECK(getenv("PATH") == NULL && getenv("HOME") == NULL);
}

// Run with one variable.
static void environment_pointers(void) {
  static uint8_t buffer[256];
  static uint32_t pointers[16];
  const uint32_t end = memory_end();
  GIVES(raw_environ_sizes_get(end - 3, at(pointers)), FAULT);
  GIVES(raw_environ_sizes_get(at(pointers), end), FAULT);
  GIVES(raw_environ_get(end - 3, at(buffer)), FAULT);
  GIVES(raw_environ_get(at(pointers), end - 1), FAULT);
  GIVES(raw_environ_get(at(pointers), 0xffffffff), FAULT);
  OK(raw_environ_get(at(pointers), at(buffer)));
}

CASES_MAIN(CASE(arguments), CASE(print), CASE(argument_pointers), CASE(environment), CASE(empty_environment),
           CASE(environment_pointers))
