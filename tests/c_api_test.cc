// include/spore.h, as a program in C uses it: through libspore.so, with nothing else of Spore.

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "include/spore.h"
#include "tests/says.h"

extern "C" spore_value c11_value(void);  // c_api_c11.c

namespace spore::test {
namespace {

namespace fs = std::filesystem;

// Numbers, text by the canonical ABI, an aggregate, and ways to fail.
constexpr std::string_view kModule = R"((module
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 1024))
  (global $count (mut i64) (i64.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
  (func (export "same") (param i64) (result i64) (local.get 0))
  (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "spin") (result i32) (loop $again (br $again)) (i32.const 1))
  (func (export "count") (result i64)
    (global.set $count (i64.add (global.get $count) (i64.const 1))) (global.get $count))
  (func (export "echo") (param i32 i32) (result i32)
    (i32.store (i32.const 512) (local.get 0))
    (i32.store (i32.const 516) (local.get 1))
    (i32.const 512))
  (func (export "maybe") (param i32 i32) (result i32)
    (i32.store (i32.const 512) (local.get 0))
    (i32.store (i32.const 516) (local.get 1))
    (i32.const 512))
  (func (export "total-step") (param i64)
    (global.set $count (i64.add (global.get $count) (local.get 0))))
  (func (export "total-finish") (result i64) (global.get $count))))";

struct Freed {
  void operator()(spore_runtime* it) const { spore_runtime_free(it); }
  void operator()(spore_registry* it) const { spore_registry_free(it); }
  void operator()(spore_function* it) const { spore_function_free(it); }
  void operator()(spore_session* it) const { spore_session_free(it); }
  void operator()(spore_group* it) const { spore_group_free(it); }
  void operator()(char* it) const { spore_free(it); }
};
template <typename T>
using Owned = std::unique_ptr<T, Freed>;

std::vector<uint8_t> wasm_of(std::string_view text) {
  uint8_t* wasm = nullptr;
  size_t size = 0;
  spore_status* failed = spore_text_to_wasm(text.data(), text.size(), &wasm, &size);
  EXPECT_EQ(failed, nullptr) << spore_status_message(failed);
  std::vector<uint8_t> bytes(wasm, wasm + size);
  spore_free(wasm);
  return bytes;
}

// Fails, and says so.
void fails(spore_status* status, spore_code code, std::string_view says) {
  EXPECT_EQ(spore_status_code(status), code) << spore_status_message(status);
  EXPECT_TRUE(has(spore_status_message(status), says));
  spore_status_free(status);
}
void succeeds(spore_status* status) {
  EXPECT_EQ(status, nullptr) << spore_status_message(status);
  spore_status_free(status);
}

std::string_view text_of(const spore_value& value) { return {value.as.text.data, value.as.text.size}; }
spore_value string_value(std::string_view text) { return spore_value_string(text.data(), text.size()); }

class CApiTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::array options{spore_option{"deadline_ms", "2000"}};
    succeeds(made(&spore_runtime_create, runtime_, options.data(), options.size()));
    succeeds(made(&spore_registry_create, registry_, runtime_.get()));
  }
  // Calls a function whose last argument is where it puts what it makes.
  template <typename T, typename Call, typename... Args>
  static spore_status* made(Call call, Owned<T>& out, Args... args) {
    T* raw = nullptr;
    spore_status* status = call(args..., &raw);
    out.reset(raw);
    return status;
  }
  Owned<spore_function> add(const std::string& definition) const {
    const std::vector<uint8_t> wasm = wasm_of(kModule);
    Owned<spore_function> function;
    succeeds(made(&spore_registry_add, function, registry_.get(), definition.c_str(), wasm.data(),
                  wasm.size(), 0));
    return function;
  }
  Owned<spore_function> add(const std::string& name, const std::string& signature) const {
    return add(R"({"name": ")" + name + R"(", "signature": ")" + signature + R"("})");
  }
  static spore_value call(const spore_function& function, std::initializer_list<spore_value> args) {
    spore_value result = spore_value_null();
    succeeds(spore_function_call(&function, args.begin(), args.size(), nullptr, &result));
    return result;
  }
  static void refuses(const spore_function& function, std::initializer_list<spore_value> args,
                      spore_code code, std::string_view says) {
    spore_value result = spore_value_i64(77);
    fails(spore_function_call(&function, args.begin(), args.size(), nullptr, &result), code, says);
    EXPECT_EQ(result.as.i64, 77);  // nothing was written
  }

  Owned<spore_runtime> runtime_;
  Owned<spore_registry> registry_;
};

TEST_F(CApiTest, NumbersGoInAndOut) {
  const auto add_function = add("add", "func(a: s32, b: s32) -> s32");
  const spore_value sum = call(*add_function, {spore_value_i64(40), spore_value_i64(2)});
  EXPECT_EQ(sum.kind, SPORE_I64);
  EXPECT_EQ(sum.as.i64, 42);
  EXPECT_STREQ(spore_function_name(add_function.get()), "add");
  EXPECT_STREQ(spore_function_signature(add_function.get()), "func(a: s32, b: s32) -> s32");
  const auto half = add("half", "func(x: f64) -> f64");
  EXPECT_EQ(call(*half, {spore_value_i64(5)}).as.f64, 2.5);
  EXPECT_TRUE(std::isnan(call(*half, {spore_value_f64(NAN)}).as.f64));
}

TEST_F(CApiTest, EveryIntegerKeepsItsValueOrIsRefused) {
  const auto same = add(R"({"name": "s", "export": "same", "signature": "func(a: s64) -> s64"})");
  EXPECT_EQ(call(*same, {spore_value_i64(INT64_MIN)}).as.i64, INT64_MIN);
  const auto unsigned_same = add(R"({"name": "u", "export": "same", "signature": "func(a: u64) -> u64"})");
  spore_value high = spore_value_null();
  high.kind = SPORE_U64;
  high.as.u64 = UINT64_MAX;
  const spore_value back = call(*unsigned_same, {high});
  EXPECT_EQ(back.kind, SPORE_U64);
  EXPECT_EQ(back.as.u64, UINT64_MAX);
  refuses(*same, {high}, SPORE_INVALID_ARGUMENT, "18446744073709551615");
  refuses(*unsigned_same, {spore_value_i64(-1)}, SPORE_INVALID_ARGUMENT, "-1 is no u64");
  const auto small = add("add", "func(a: u8, b: s8) -> s32");
  EXPECT_EQ(call(*small, {spore_value_i64(255), spore_value_i64(-128)}).as.i64, 127);
  refuses(*small, {spore_value_i64(256), spore_value_i64(0)}, SPORE_INVALID_ARGUMENT, "argument 1 (a)");
  refuses(*small, {spore_value_i64(0), spore_value_i64(128)}, SPORE_INVALID_ARGUMENT, "argument 2 (b)");
  refuses(*small, {spore_value_i64(0), spore_value_f64(1)}, SPORE_INVALID_ARGUMENT, "an f64");
}

TEST_F(CApiTest, TextAndBytesGoInAndOut) {
  const auto echo = add("echo", "func(text: string) -> string");
  for (const std::string& text :
       {std::string("moon"), std::string(), std::string("a\0b", 3), std::string("é🙂")}) {
    spore_value result = call(*echo, {string_value(text)});
    EXPECT_EQ(result.kind, SPORE_STRING);
    EXPECT_EQ(text_of(result), text);
    EXPECT_EQ(result.as.text.data[text.size()], '\0');
    spore_value_free(&result);
    EXPECT_EQ(result.kind, SPORE_NULL);
  }
  refuses(*echo, {string_value("\xff")}, SPORE_INVALID_ARGUMENT, "UTF-8");
  const auto bytes =
      add(R"({"name": "raw", "export": "echo", "signature": "func(a: list<u8>) -> list<u8>"})");
  spore_value result = call(*bytes, {spore_value_text(SPORE_BYTES, "\xff\0", 2)});
  EXPECT_EQ(result.kind, SPORE_BYTES);
  EXPECT_EQ(text_of(result), std::string_view("\xff\0", 2));
  spore_value_free(&result);
}

TEST_F(CApiTest, OptionsAreNullAndOtherTypesAreJson) {
  const auto maybe = add("maybe", "func(a: option<s32>) -> option<s32>");
  EXPECT_EQ(call(*maybe, {spore_value_null()}).kind, SPORE_NULL);
  EXPECT_EQ(call(*maybe, {}).kind, SPORE_NULL);
  EXPECT_EQ(call(*maybe, {spore_value_i64(7)}).as.i64, 7);
  const auto list =
      add(R"({"name": "list", "export": "echo", "signature": "func(a: list<s32>) -> list<s32>"})");
  spore_value result = call(*list, {spore_value_text(SPORE_JSON, "[1, 2]", 6)});
  EXPECT_EQ(result.kind, SPORE_JSON);
  char* json = nullptr;
  succeeds(spore_function_call_json(list.get(), "[[1, 2]]", nullptr, &json));
  EXPECT_EQ(text_of(result), json);
  spore_free(json);
  spore_value_free(&result);
  refuses(*list, {spore_value_i64(1)}, SPORE_INVALID_ARGUMENT, "an i64 is given for list<s32>");
  refuses(*list, {spore_value_text(SPORE_JSON, "[1", 2)}, SPORE_INVALID_ARGUMENT, "argument 1 (a)");
}

TEST_F(CApiTest, FailuresHaveACodeAndAMessage) {
  const auto divide = add("divide", "func(a: s32, b: s32) -> s32");
  refuses(*divide, {spore_value_i64(1), spore_value_i64(0)}, SPORE_TRAP, "divide by zero");
  EXPECT_EQ(call(*divide, {spore_value_i64(8), spore_value_i64(2)}).as.i64, 4);
  refuses(*divide, {spore_value_i64(1)}, SPORE_INVALID_ARGUMENT, "takes 2 arguments, 1 given");
  const auto spin = add(R"({"name": "spin", "signature": "func() -> s32", "deadline_ms": 20})");
  refuses(*spin, {}, SPORE_DEADLINE_EXCEEDED, "deadline_ms=20");
  char* json = nullptr;
  fails(spore_function_call_json(divide.get(), "[1, \"x\"]", nullptr, &json), SPORE_INVALID_ARGUMENT, "(b)");
  fails(spore_function_call_json(divide.get(), "{}", nullptr, &json), SPORE_INVALID_ARGUMENT, "array");
  fails(spore_function_call_json(divide.get(), "[1, 2] 3", nullptr, &json), SPORE_INVALID_ARGUMENT,
        "follows");
  EXPECT_EQ(json, nullptr);
  EXPECT_STREQ(spore_code_name(SPORE_DEADLINE_EXCEEDED), "deadline_exceeded");
  EXPECT_EQ(spore_status_code(nullptr), SPORE_OK);
  EXPECT_STREQ(spore_status_message(nullptr), "");
}

TEST_F(CApiTest, RegistriesAddFindListAndRemove) {
  add("add", "func(a: s32, b: s32) -> s32");
  const std::vector<uint8_t> wasm = wasm_of(kModule);
  Owned<spore_function> function;
  const auto add_again = [&](const char* definition, int replace) {
    return made(&spore_registry_add, function, registry_.get(), definition, wasm.data(), wasm.size(),
                replace);
  };
  const char* definition = R"({"name": "add", "signature": "func(a: u32, b: u32) -> u32"})";
  fails(add_again(definition, 0), SPORE_ALREADY_EXISTS, "add");
  succeeds(add_again(definition, 1));
  fails(add_again("{\"nane\": 1}", 0), SPORE_INVALID_ARGUMENT, "nane");
  fails(add_again("{\"name\": \"add2\", \"export\": \"add\", \"signature\": \"func(a: f64) -> f64\"}", 0),
        SPORE_INVALID_ARGUMENT, "f64");
  fails(made(&spore_registry_find, function, registry_.get(), "ad"), SPORE_NOT_FOUND, "'add'");
  succeeds(made(&spore_registry_find, function, registry_.get(), "add"));
  EXPECT_STREQ(spore_function_signature(function.get()), "func(a: u32, b: u32) -> u32");
  char* json = nullptr;
  succeeds(spore_registry_list(registry_.get(), "a*", &json));
  EXPECT_TRUE(has(json, "\"add\""));
  spore_free(json);
  succeeds(spore_registry_enable(registry_.get(), "add", 0));
  Owned<spore_function> disabled;
  fails(made(&spore_registry_find, disabled, registry_.get(), "add"), SPORE_UNAVAILABLE, "add");
  succeeds(spore_registry_remove(registry_.get(), "add"));
  fails(spore_registry_remove(registry_.get(), "add"), SPORE_NOT_FOUND, "add");
  // Whoever has it goes on, also when everything else is gone.
  registry_.reset();
  runtime_.reset();
  EXPECT_EQ(call(*function, {spore_value_i64(1), spore_value_i64(2)}).as.i64, 3);
}

TEST_F(CApiTest, ARegistryInADirectoryIsThereAgain) {
  std::string name = (fs::temp_directory_path() / "spore_c_api.XXXXXX").native();
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  const std::string directory = name + "/functions";
  succeeds(made(&spore_registry_open, registry_, runtime_.get(), directory.c_str()));
  add("add", "func(a: s32, b: s32) -> s32");
  registry_.reset();
  succeeds(made(&spore_registry_open, registry_, runtime_.get(), directory.c_str()));
  Owned<spore_function> function;
  succeeds(made(&spore_registry_find, function, registry_.get(), "add"));
  EXPECT_EQ(call(*function, {spore_value_i64(1), spore_value_i64(2)}).as.i64, 3);
  fs::remove_all(name);
}

TEST_F(CApiTest, BatchesHaveAResultOrAnErrorForEachRow) {
  const auto divide = add("divide", "func(a: s32, b: s32) -> s32");
  const std::array args{spore_value_i64(8), spore_value_i64(2), spore_value_i64(1),
                        spore_value_i64(0), spore_value_i64(9), spore_value_i64(3)};
  std::array<spore_value, 3> results{};
  std::array<spore_status*, 3> errors{};
  succeeds(
      spore_function_call_batch(divide.get(), args.data(), 2, 3, nullptr, results.data(), errors.data()));
  EXPECT_EQ(results[0].as.i64, 4);
  EXPECT_EQ(results[1].kind, SPORE_NULL);
  EXPECT_EQ(results[2].as.i64, 3);
  EXPECT_EQ(errors[0], nullptr);
  fails(errors[1], SPORE_TRAP, "divide by zero");
  EXPECT_EQ(errors[2], nullptr);
  fails(spore_function_call_batch(divide.get(), args.data(), 3, 2, nullptr, results.data(), errors.data()),
        SPORE_INVALID_ARGUMENT, "row 1");
  succeeds(
      spore_function_call_batch(divide.get(), args.data(), 2, 0, nullptr, results.data(), errors.data()));
}

TEST_F(CApiTest, SessionsShareAnInstanceIfTheyAreToldTo) {
  const auto count = add("count", "func() -> s64");
  for (const int shared : {0, 1}) {
    Owned<spore_session> session;
    succeeds(made(&spore_session_begin, session, count.get(), shared,
                  static_cast<const spore_call_options*>(nullptr)));
    for (int64_t i = 1; i <= 3; i++) {
      spore_value result = spore_value_null();
      succeeds(spore_session_call(session.get(), nullptr, 0, &result));
      EXPECT_EQ(result.as.i64, shared != 0 ? i : 1);
    }
  }
  EXPECT_EQ(call(*count, {}).as.i64, 1);
}

TEST_F(CApiTest, AGroupIsStepsAndAFinish) {
  const auto total = add(R"({"name": "total", "kind": "aggregate", "signature": "func(a: s64) -> s64"})");
  for (int i = 0; i < 2; i++) {
    Owned<spore_group> group;
    succeeds(made(&spore_group_begin, group, total.get(), static_cast<const spore_call_options*>(nullptr)));
    for (const int64_t number : {1, 2, 3}) {
      const spore_value value = spore_value_i64(number);
      succeeds(spore_group_step(group.get(), &value, 1));
    }
    spore_value result = spore_value_null();
    succeeds(spore_group_finish(group.get(), &result));
    EXPECT_EQ(result.as.i64, 6);
  }
  const auto add_function = add("add", "func(a: s32, b: s32) -> s32");
  Owned<spore_group> group;
  spore_status* failed =
      made(&spore_group_begin, group, add_function.get(), static_cast<const spore_call_options*>(nullptr));
  fails(failed, SPORE_UNSUPPORTED, "add");
}

TEST_F(CApiTest, ACallEndsWhenItsCallerWantsThat) {
  const auto spin = add("spin", "func() -> s32");
  std::atomic<int> asked{0};
  spore_call_options options{};
  options.wants_end = [](void* data) {
    return static_cast<std::atomic<int>*>(data)->fetch_add(1) >= 3 ? 1 : 0;
  };
  options.wants_end_data = &asked;
  spore_value result = spore_value_null();
  fails(spore_function_call(spin.get(), nullptr, 0, &options, &result), SPORE_CANCELLED, "");
  EXPECT_GE(asked.load(), 4);
}

TEST_F(CApiTest, FunctionsAreCalledByManyThreads) {
  const auto add_function = add("add", "func(a: s32, b: s32) -> s32");
  std::vector<std::jthread> threads;
  for (int64_t thread = 0; thread < 4; thread++) {
    threads.emplace_back([&, thread] {
      for (int64_t i = 0; i < 200; i++) {
        EXPECT_EQ(call(*add_function, {spore_value_i64(thread), spore_value_i64(i)}).as.i64, thread + i);
      }
    });
  }
  threads.clear();
  char* json = nullptr;
  succeeds(spore_function_describe(add_function.get(), &json));
  EXPECT_TRUE(has(json, "\"calls\": 800"));
  spore_free(json);
  succeeds(spore_runtime_statistics(runtime_.get(), &json));
  EXPECT_TRUE(has(json, "\"memo\""));
  spore_free(json);
}

TEST_F(CApiTest, OptionsOfARuntimeAreChecked) {
  Owned<spore_runtime> runtime;
  const spore_option unknown{"deadline", "1"};
  fails(made(&spore_runtime_create, runtime, &unknown, 1), SPORE_INVALID_ARGUMENT, "deadline_ms");
  const spore_option wrong{"deadline_ms", "soon"};
  fails(made(&spore_runtime_create, runtime, &wrong, 1), SPORE_INVALID_ARGUMENT, "soon");
  EXPECT_EQ(runtime, nullptr);
}

// A document by callbacks: the module asks for three fields and gives their sum.
constexpr std::string_view kDocumentModule = R"((module
  (import "spore:document/fields" "get-s64" (func $get (param i32 i32 i32)))
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 1024))
  (data (i32.const 16) "abc.d")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func $field (param i32 i32) (result i64)
    (call $get (local.get 0) (local.get 1) (i32.const 64))
    (if (result i64) (i32.load8_u (i32.const 64)) (then (i64.load (i32.const 72))) (else (i64.const 1000))))
  (func (export "sum") (result i64)
    (i64.add (call $field (i32.const 16) (i32.const 1))
      (i64.add (call $field (i32.const 17) (i32.const 1)) (call $field (i32.const 18) (i32.const 3)))))))";

TEST_F(CApiTest, AFunctionAsksForTheFieldsOfADocument) {
  const std::vector<uint8_t> wasm = wasm_of(kDocumentModule);
  Owned<spore_function> sum;
  succeeds(made(&spore_registry_add, sum, registry_.get(), R"({"name": "sum", "signature": "func() -> s64"})",
                wasm.data(), wasm.size(), 0));
  ASSERT_NE(sum, nullptr);
  const auto total = [&](const spore_call_options& options) {
    spore_value result = spore_value_null();
    succeeds(spore_function_call(sum.get(), nullptr, 0, &options, &result));
    return result.as.i64;
  };
  std::vector<std::string> asked;
  spore_document document{};
  document.data = &asked;
  document.field = [](void* data, const char* path, size_t size, spore_value* value) {
    static_cast<std::vector<std::string>*>(data)->emplace_back(path, size);
    *value = spore_value_i64(7);
    return std::string_view(path, size) == "b" ? 0 : 1;
  };
  spore_call_options options{};
  options.document = &document;
  EXPECT_EQ(total(options), 7 + 1000 + 7);
  EXPECT_EQ(std::set<std::string>(asked.begin(), asked.end()), (std::set<std::string>{"a", "b", "c.d"}));
  spore_call_options as_json{};
  as_json.document_json = R"({"a": 1, "b": "x", "c": {"d": 30}})";
  EXPECT_EQ(total(as_json), 1 + 1000 + 30);
  EXPECT_EQ(total({}), 3000);
  as_json.document = &document;
  spore_value result = spore_value_null();
  fails(spore_function_call(sum.get(), nullptr, 0, &as_json, &result), SPORE_INVALID_ARGUMENT,
        "one document");
  options.document = nullptr;
  options.document_json = "[]";
  fails(spore_function_call(sum.get(), nullptr, 0, &options, &result), SPORE_INVALID_ARGUMENT, "object");
}

TEST(CApiHeaderTest, IsOfTheLanguageC) {
  EXPECT_EQ(text_of(c11_value()), "moon");
  EXPECT_TRUE(std::string_view(spore_version()).find('.') != std::string_view::npos);
}

// Goal: the library shows what the header declares, and not one symbol more.
TEST(CApiHeaderTest, TheLibraryExportsWhatItDeclares) {
  std::ifstream file(SPORE_SOURCE_DIR "/include/spore.h");
  const std::string header(std::istreambuf_iterator<char>(file), {});
  std::set<std::string> declared;
  const std::regex pattern(R"(SPORE_API [^;(]*?\b(spore_\w+)\()");
  for (std::sregex_iterator it(header.begin(), header.end(), pattern), end; it != end; ++it)
    declared.insert((*it)[1]);
  ASSERT_GT(declared.size(), 20U);
  std::FILE* nm = ::popen("nm -D --defined-only " SPORE_C_LIBRARY, "r");
  ASSERT_NE(nm, nullptr);
  std::set<std::string> exported;
  std::array<char, 512> line{};
  while (std::fgets(line.data(), line.size(), nm) != nullptr) {
    std::string text(line.data());
    text.erase(text.find_last_not_of('\n') + 1);
    exported.insert(text.substr(text.rfind(' ') + 1));
  }
  EXPECT_EQ(::pclose(nm), 0);
  EXPECT_EQ(exported, declared);
}

}  // namespace
}  // namespace spore::test
