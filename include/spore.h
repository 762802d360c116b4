/* Spore for programs in C, and for whatever else speaks C: other people's functions, each call in a clean
 * instance.  Link libspore (`pkg-config spore-c`); docs/embedding-c.md shows its use.
 *
 *   spore_runtime* runtime;
 *   spore_registry* registry;
 *   spore_function* rank;
 *   spore_runtime_create(NULL, 0, &runtime);
 *   spore_registry_create(runtime, &registry);
 *   spore_registry_add(registry, "{\"name\": \"rank\"}", wasm, wasm_size, 0, &rank);
 *   spore_value args[] = {spore_value_string("moon", 4), spore_value_f64(0.5)}, result;
 *   spore_status* failed = spore_function_call(rank, args, 2, NULL, &result);
 *
 * Errors.  What can fail gives a spore_status*: NULL if all is well, else a code and a message, which the
 * caller frees.  What it was to make is then not made: `*out` is as it was.
 *
 * Ownership.  What has a function NAME_free is freed with it, by the caller, in any order: a registry keeps
 * its runtime, a function what it was made by.  NULL may be freed.  What a function is given is the caller's
 * again when it returns, unless it says otherwise.  A text (char*) that is handed out is freed with
 * spore_free(); a const char* belongs to what it was asked of.
 *
 * Threads.  Runtimes, registries and functions may be used by any number of threads at once; sessions and
 * groups by one at a time.  Guests run on the thread that calls; a callback is called there, too, and must
 * not unwind (longjmp, C++ exceptions) nor use the session or group of the call that it is part of.
 *
 * Signals, fork.  SIGSEGV, SIGILL, SIGFPE and SIGBUS are handled by the library from the first runtime on;
 * what is none of its business goes to the handlers that were there before.  A forked child may go on with
 * what it has.  docs/embedding.md says what a program has to heed.  The library stays loaded until the
 * process ends.
 *
 * Texts are UTF-8.  Where no size is given they end with a zero. */
#ifndef SPORE_C_H
#define SPORE_C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SPORE_API __attribute__((visibility("default")))

/* "0.1.0", of the library that runs. */
SPORE_API const char* spore_version(void);

/* --- errors -------------------------------------------------------------------------------------------- */

typedef enum spore_code {
  SPORE_OK = 0,
  SPORE_INVALID_ARGUMENT = 1,  /* the caller's words are wrong: a wrong type or count, no JSON */
  SPORE_INVALID_MODULE = 2,    /* the bytes are no module that this build takes */
  SPORE_NOT_FOUND = 3,         /* no such function, file, export */
  SPORE_ALREADY_EXISTS = 4,    /* the name is taken */
  SPORE_UNSUPPORTED = 5,       /* well-formed, but beyond this build */
  SPORE_CORRUPTION = 6,        /* files that are not as they were written */
  SPORE_LIMIT_EXCEEDED = 7,    /* a named limit was reached; the message names it */
  SPORE_DEADLINE_EXCEEDED = 8, /* the call ran longer than its deadline */
  SPORE_CANCELLED = 9,         /* somebody asked for the end */
  SPORE_TRAP = 10,             /* the guest trapped */
  SPORE_EXITED = 11,           /* the guest ended itself */
  SPORE_HOST_ERROR = 12,       /* a host function failed */
  SPORE_UNAVAILABLE = 13,      /* disabled, or not possible in this process at this time */
  SPORE_IO = 14,               /* the operating system said no */
  SPORE_INTERNAL = 15          /* a bug */
} spore_code;

typedef struct spore_status spore_status;

/* Of NULL: SPORE_OK, "" and "". */
SPORE_API spore_code spore_status_code(const spore_status* status);
SPORE_API const char* spore_status_message(const spore_status* status); /* one line, for people */
SPORE_API const char* spore_status_detail(const spore_status* status);  /* further lines: a traceback */
SPORE_API void spore_status_free(spore_status* status);
/* "limit_exceeded" */
SPORE_API const char* spore_code_name(spore_code code);

/* Memory that was handed out as char* or uint8_t*. */
SPORE_API void spore_free(void* memory);

/* --- runtimes ------------------------------------------------------------------------------------------ */

/* What modules are loaded and run in.  One a process is the rule. */
typedef struct spore_runtime spore_runtime;

typedef struct spore_option {
  const char* name;
  const char* value;
} spore_option;

/* Options are those of docs/operating/options.md, as in a file: {"deadline_ms", "100"}.  And one more,
 * `home`: a data directory, of which "" is the user's own.  Its spore.conf and the environment count then,
 * before the options that are given here; native code is kept there, and languages other than wasm are looked
 * for. */
SPORE_API spore_status* spore_runtime_create(const spore_option* options, size_t count, spore_runtime** out);
SPORE_API void spore_runtime_free(spore_runtime* runtime);
/* A JSON object. */
SPORE_API spore_status* spore_runtime_statistics(const spore_runtime* runtime, char** json);

/* WebAssembly's text format as a module's bytes, to be freed with spore_free(). */
SPORE_API spore_status* spore_text_to_wasm(const char* text, size_t size, uint8_t** wasm, size_t* wasm_size);

/* --- registries ---------------------------------------------------------------------------------------- */

typedef struct spore_registry spore_registry;
typedef struct spore_function spore_function;

/* In memory alone. */
SPORE_API spore_status* spore_registry_create(spore_runtime* runtime, spore_registry** out);
/* Kept in a directory, which is made if it is not there; what is in it is there again. */
SPORE_API spore_status* spore_registry_open(spore_runtime* runtime, const char* directory,
                                            spore_registry** out);
SPORE_API void spore_registry_free(spore_registry* registry);

/* Adds a function.  `definition` is a JSON object with `name`, and what else docs/functions.md lists:
 * `signature` ("func(text: string, boost: f64) -> f64"; not needed where the module tells), `language`
 * ("wasm" unless said otherwise), `kind`, `pure`, `deadline_ms`, ...  The source is a module or a source
 * text.  With `replace` the one that has the name goes; its calls end as they began.  `out`, if not NULL, is
 * given the function. */
SPORE_API spore_status* spore_registry_add(spore_registry* registry, const char* definition,
                                           const void* source, size_t source_size, int replace,
                                           spore_function** out);
SPORE_API spore_status* spore_registry_find(spore_registry* registry, const char* name, spore_function** out);
/* {"functions": [...], "broken": [{"name", "why"}]}: those whose names match a pattern of '*' and '?', and
 * what the directory has that cannot be made any more. */
SPORE_API spore_status* spore_registry_list(spore_registry* registry, const char* pattern, char** json);
SPORE_API spore_status* spore_registry_enable(spore_registry* registry, const char* name, int enabled);
SPORE_API spore_status* spore_registry_remove(spore_registry* registry, const char* name);

/* --- values -------------------------------------------------------------------------------------------- */

typedef enum spore_kind {
  SPORE_NULL = 0,   /* an option that is nothing, or no result */
  SPORE_I64 = 1,    /* bool (0, 1) and all integers but u64 */
  SPORE_U64 = 2,    /* u64 */
  SPORE_F64 = 3,    /* f32 and f64 */
  SPORE_STRING = 4, /* string, char, enum */
  SPORE_BYTES = 5,  /* list<u8> */
  SPORE_JSON = 6    /* all else, as JSON */
} spore_kind;

/* An argument or a result.  Arguments: any integer that is in range will do where an integer is wanted, an
 * integer where a float is, JSON wherever the type is. */
typedef struct spore_value {
  spore_kind kind;
  union {
    int64_t i64;
    uint64_t u64;
    double f64;
    struct {
      const char* data; /* a result's ends with a zero that does not count */
      size_t size;
    } text; /* of strings, bytes, JSON */
  } as;
  void* owned; /* the library's; NULL in what others make */
} spore_value;

static inline spore_value spore_value_null(void) {
  spore_value value;
  value.kind = SPORE_NULL;
  value.as.u64 = 0;
  value.owned = NULL;
  return value;
}
static inline spore_value spore_value_i64(int64_t number) {
  spore_value value = spore_value_null();
  value.kind = SPORE_I64;
  value.as.i64 = number;
  return value;
}
static inline spore_value spore_value_f64(double number) {
  spore_value value = spore_value_null();
  value.kind = SPORE_F64;
  value.as.f64 = number;
  return value;
}
/* Refers to the text, which has to live until the call is over. */
static inline spore_value spore_value_text(spore_kind kind, const char* data, size_t size) {
  spore_value value = spore_value_null();
  value.kind = kind;
  value.as.text.data = data;
  value.as.text.size = size;
  return value;
}
static inline spore_value spore_value_string(const char* data, size_t size) {
  return spore_value_text(SPORE_STRING, data, size);
}

/* What of a result has to be freed; it is null then. */
SPORE_API void spore_value_free(spore_value* value);

/* --- calls --------------------------------------------------------------------------------------------- */

/* The row or document that a function is called for, asked field by field when the guest wants one.  Paths
 * are as `price.amount`, `tags[0]`, and not ended by a zero.  What a callback hands out has to stay good
 * until the next one is called, or the call is over. */
typedef struct spore_document {
  void* data; /* given to each callback */
  /* 0: there is no such field.  SPORE_I64 of 0 and 1 are also bools. */
  int (*field)(void* data, const char* path, size_t path_size, spore_value* value);
  /* These may be NULL. */
  size_t (*field_count)(void* data);
  const char* (*field_name)(void* data, size_t index);
  const char* (*id)(void* data);
  double (*score)(void* data);
  /* All of it, an object, for guests that cannot ask.  NULL: made of the fields that have names. */
  const char* (*json)(void* data);
} spore_document;

typedef struct spore_call_options {
  const spore_document* document; /* or */
  const char* document_json;      /* an object */
  /* Asked once a millisecond at most while the call runs: not 0 ends it with SPORE_CANCELLED. */
  int (*wants_end)(void* data);
  void* wants_end_data;
} spore_call_options;

SPORE_API void spore_function_free(spore_function* function);
SPORE_API const char* spore_function_name(const spore_function* function);
/* "func(text: string, boost: f64) -> f64" */
SPORE_API const char* spore_function_signature(const spore_function* function);
/* A JSON object: what it was defined as, what is known of it, and its statistics. */
SPORE_API spore_status* spore_function_describe(const spore_function* function, char** json);

/* One call in a clean instance.  Trailing options may be missing.  `options` may be NULL. */
SPORE_API spore_status* spore_function_call(const spore_function* function, const spore_value* args,
                                            size_t count, const spore_call_options* options,
                                            spore_value* result);
/* Arguments as a JSON array; the result as JSON, "null" if there is none. */
SPORE_API spore_status* spore_function_call_json(const spore_function* function, const char* args,
                                                 const spore_call_options* options, char** result);
/* `rows` rows of `width` arguments each, row by row, in one crossing where the guest can do that; the rows
 * share an instance then.  results[i] and errors[i] are those of row i: errors[i] NULL, or results[i] null.
 * A failure of the whole is given back: then nothing was written. */
SPORE_API spore_status* spore_function_call_batch(const spore_function* function, const spore_value* args,
                                                  size_t width, size_t rows,
                                                  const spore_call_options* options, spore_value* results,
                                                  spore_status** errors);

/* The calls of one statement: quicker than calls one by one.  Bound to a thread at a time.  With `shared`
 * they share an instance, so what one leaves behind the next one finds; without, each finds a clean one.  The
 * options hold for all calls, and what they point to has to live as long. */
typedef struct spore_session spore_session;
SPORE_API spore_status* spore_session_begin(const spore_function* function, int shared,
                                            const spore_call_options* options, spore_session** out);
SPORE_API spore_status* spore_session_call(spore_session* session, const spore_value* args, size_t count,
                                           spore_value* result);
SPORE_API void spore_session_free(spore_session* session);

/* One group of an aggregate function. */
typedef struct spore_group spore_group;
SPORE_API spore_status* spore_group_begin(const spore_function* function, const spore_call_options* options,
                                          spore_group** out);
SPORE_API spore_status* spore_group_step(spore_group* group, const spore_value* args, size_t count);
SPORE_API spore_status* spore_group_finish(spore_group* group, spore_value* result);
SPORE_API void spore_group_free(spore_group* group);

#ifdef __cplusplus
}
#endif

#endif
