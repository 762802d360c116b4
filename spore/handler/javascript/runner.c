// Has a JavaScript module that exports handle(request) answer: QuickJS, and messages on standard input.  In
// Spore this is a library: one export boots it and loads the handler, another takes a request; natively it is a
// program, for tests.
//
// A message is its length as four bytes, little-endian, and so many bytes; answers are told likewise, so that
// any text goes through.  The first message is JSON: {"file": name, "source": text}.  Nothing answers it:
// whoever froze the program knows that all is well when the next message is waited for.  Each further message
// is given to handle() as text.  It answers with text, with a Uint8Array, or with anything else that JSON can
// tell, or with a promise of that.
//
// An error ends the program with exit code 1, and with its stack on standard error, of which the last line is
// "FILE:LINE: ERROR".  There is no need to go on: the next request is given a clean copy of this process.
//
// Built by tools/guests.sh; nothing is freed that lives as long as the process.

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "quickjs.h"

enum { kInput = 0, kOutput = 1, kLengthBytes = 4, kRandomWords = 32 };

static JSContext* context;
static const char* file;  // of the handler

static _Noreturn void die(const char* why) {
  fprintf(stderr, "%s: %s\n", file == NULL ? "javascript" : file, why);
  _Exit(1);
}

// --- messages -------------------------------------------------------------------------------------------

static size_t read_up_to(void* into, size_t bytes) {
  size_t has = 0;
  while (has < bytes) {
    const ssize_t n = read(kInput, (char*)into + has, bytes - has);
    if (n < 0) die("standard input cannot be read");
    if (n == 0) break;
    has += (size_t)n;
  }
  return has;
}

static void write_all(const void* bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    const ssize_t n = write(kOutput, (const char*)bytes + done, count - done);
    if (n < 0) die("standard output cannot be written");
    done += (size_t)n;
  }
}

// With a zero byte behind it, as QuickJS wants it.  Null at the end of input.
static char* read_message(size_t* length) {
  uint32_t announced = 0;
  const size_t head = read_up_to(&announced, kLengthBytes);
  if (head == 0) return NULL;
  char* text = malloc((size_t)announced + 1);
  if (text == NULL) die("no memory for so long a message");
  if (head < kLengthBytes || read_up_to(text, announced) < announced) {
    die("standard input ended in the middle of a message");
  }
  text[announced] = 0;
  *length = announced;
  return text;
}

static void write_message(const void* bytes, size_t count) {
  const uint32_t length = (uint32_t)count;
  if (length != count) die("an answer of 4 GiB or more");
  char* message = malloc(kLengthBytes + count);
  if (message == NULL) die("no memory for so long an answer");
  memcpy(message, &length, kLengthBytes);
  memcpy(message + kLengthBytes, bytes, count);
  write_all(message, kLengthBytes + count);
  free(message);
}

// --- errors ---------------------------------------------------------------------------------------------

// Never null; what cannot be told is "?".
static const char* text_of(JSValueConst value) {
  const char* text = JS_ToCString(context, value);
  if (text != NULL) return text;
  JS_FreeValue(context, JS_GetException(context));
  return "?";
}

// The line of the innermost frame in the handler's file: "    at handle (handler.js:3:12)".  0: none.
static long line_in(const char* stack) {
  const size_t length = strlen(file);
  for (const char* at = strstr(stack, file); at != NULL; at = strstr(at + 1, file)) {
    if (at[length] == ':') return strtol(at + length + 1, NULL, 10);
  }
  return 0;
}

static _Noreturn void fail(JSValueConst error) {
  const char* message = text_of(error);
  const JSValue stack_value = JS_IsError(error) ? JS_GetPropertyStr(context, error, "stack") : JS_UNDEFINED;
  const char* stack = JS_IsString(stack_value) ? text_of(stack_value) : "";
  const long line = line_in(stack);
  fprintf(stderr, "%s\n%s%s%s", message, stack, stack[0] == 0 || stack[strlen(stack) - 1] == '\n' ? "" : "\n",
          file);
  if (line > 0) fprintf(stderr, ":%ld", line);
  fprintf(stderr, ": %.*s\n", (int)strcspn(message, "\n"), message);
  _Exit(1);
}

static JSValue checked(JSValue value) {
  if (JS_IsException(value)) fail(JS_GetException(context));
  return value;
}

// --- what handlers see ----------------------------------------------------------------------------------

static uint64_t random_words[kRandomWords];
static size_t random_left;

// QuickJS seeds its own when it starts: each request would draw the same.
static JSValue js_random(JSContext* ctx, JSValueConst this_value, int argc, JSValueConst* argv) {
  if (random_left == 0) {
    if (getentropy(random_words, sizeof random_words) != 0) die("there is no entropy");
    random_left = kRandomWords;
  }
  (void)this_value, (void)argc, (void)argv;
  return JS_NewFloat64(ctx, (double)(random_words[--random_left] >> 11) * 0x1p-53);
}

static JSValue js_log(JSContext* ctx, JSValueConst this_value, int argc, JSValueConst* argv) {
  (void)this_value;
  for (int i = 0; i < argc; i++) {
    const char* text = JS_ToCString(ctx, argv[i]);
    if (text == NULL) return JS_EXCEPTION;
    fprintf(stderr, "%s%s", i == 0 ? "" : " ", text);
    JS_FreeCString(ctx, text);
  }
  fputc('\n', stderr);
  return JS_UNDEFINED;
}

static void define_globals(void) {
  const JSValue global = JS_GetGlobalObject(context);
  const JSValue console = JS_NewObject(context);
  static const char* const kNames[] = {"debug", "error", "info", "log", "warn"};
  for (size_t i = 0; i < sizeof kNames / sizeof *kNames; i++) {
    JS_SetPropertyStr(context, console, kNames[i], JS_NewCFunction(context, js_log, kNames[i], 1));
  }
  JS_SetPropertyStr(context, global, "console", console);
  const JSValue math = JS_GetPropertyStr(context, global, "Math");
  JS_SetPropertyStr(context, math, "random", JS_NewCFunction(context, js_random, "random", 0));
  JS_FreeValue(context, math);
  JS_FreeValue(context, global);
}

// --- the handler ----------------------------------------------------------------------------------------

// What a promise comes to; any other value is that itself.
static JSValue settled(JSValue value) {
  for (;;) {
    JSContext* job = NULL;
    const int ran = JS_ExecutePendingJob(JS_GetRuntime(context), &job);
    if (ran < 0) fail(JS_GetException(job));
    if (ran == 0) break;
  }
  const int state = JS_PromiseState(context, value);
  if (state == JS_PROMISE_PENDING) die("a promise was never settled: there are no timers and no input here");
  if (state != JS_PROMISE_FULFILLED && state != JS_PROMISE_REJECTED) return value;
  const JSValue result = JS_PromiseResult(context, value);
  if (state == JS_PROMISE_REJECTED) fail(result);
  JS_FreeValue(context, value);
  return result;
}

// The function handle() of the module that the first message has.
static JSValue load(const char* message, size_t length) {
  const JSValue setup = checked(JS_ParseJSON(context, message, length, "setup"));
  file = text_of(JS_GetPropertyStr(context, setup, "file"));
  size_t source_length = 0;
  const char* source = JS_ToCStringLen(context, &source_length, JS_GetPropertyStr(context, setup, "source"));
  if (source == NULL) die("its source is no text");
  const JSValue compiled = checked(JS_Eval(context, source, source_length, file,
                                           JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY));
  JSModuleDef* module = JS_VALUE_GET_PTR(compiled);
  JS_FreeValue(context, settled(checked(JS_EvalFunction(context, compiled))));
  const JSValue exports = checked(JS_GetModuleNamespace(context, module));
  const JSValue handle = checked(JS_GetPropertyStr(context, exports, "handle"));
  if (!JS_IsFunction(context, handle)) die("Error: it exports no function handle(request)");
  return handle;
}

static void answer(JSValueConst handle, const char* message, size_t length) {
  JSValue request = checked(JS_NewStringLen(context, message, length));
  const JSValue result = settled(checked(JS_Call(context, handle, JS_UNDEFINED, 1, &request)));
  size_t bytes = 0;
  if (JS_GetTypedArrayType(result) == JS_TYPED_ARRAY_UINT8) {
    const uint8_t* data = JS_GetUint8Array(context, &bytes, result);
    write_message(data, bytes);
    return;
  }
  JSValue text = result;
  if (!JS_IsString(result)) text = checked(JS_JSONStringify(context, result, JS_UNDEFINED, JS_UNDEFINED));
  if (JS_IsUndefined(text)) text = JS_NewString(context, "null");  // nothing to tell
  const char* data = JS_ToCStringLen(context, &bytes, text);
  if (data == NULL) fail(JS_GetException(context));
  write_message(data, bytes);
}

// --- a library, or a program -----------------------------------------------------------------------------

static JSRuntime* runtime;
static JSValue handler = JS_UNDEFINED;

static void boot(void) {
  runtime = JS_NewRuntime();
  context = runtime == NULL ? NULL : JS_NewContext(runtime);
  if (context == NULL) die("no memory");
  define_globals();
}

// Takes one message: the first loads the handler, each other is answered.  False at the end of input.
static bool step(void) {
  size_t length = 0;
  char* message = read_message(&length);
  if (message == NULL) return false;
  if (JS_IsUndefined(handler)) {
    handler = load(message, length);
    JS_RunGC(runtime);
    return true;
  }
  random_left = 0;
  answer(handler, message, length);
  free(message);
  return true;
}

#ifdef __wasi__
// In Spore, where each call begins in a clean copy of what the first one left.
__attribute__((export_name("wizer.initialize"))) void initialise(void) {
  boot();
  step();
}
__attribute__((export_name("spore_request"))) void take_request(void) { step(); }
#else
int main(void) {
  boot();
  while (step()) {
  }
}
#endif
