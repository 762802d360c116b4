// The extension of SQLite, as a program has it: loaded into connections, called by SQL.

#include <sqlite3.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/guest_file.h"
#include "tests/process.h"
#include "tests/sanitizers.h"

namespace spore::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExtension = SPORE_SQLITE_EXTENSION;

constexpr const char* kHome = SPORE_SOURCE_DIR "/build/handlers";

// What the extension reads its options from, once in this process.
void set_environment() {
  static const bool kSet = [] {
    std::error_code none;  // another test was first
    fs::create_directories(fs::path(kHome) / "runtimes", none);
    fs::create_symlink(SPORE_SOURCE_DIR "/build/guests/python.wasm", fs::path(kHome) / "runtimes/python.wasm",
                       none);
    ::setenv("SPORE_HOME", kHome, 1);
    ::setenv("SPORE_COMPILE_HELPER", SPORE_COMPILE_HELPER, 1);
    ::unsetenv("SPORE_SQLITE_LOAD");
    return true;
  }();
  static_cast<void>(kSet);
}

struct Blob {
  std::string bytes;
};
// What is bound to '?'.
class Value {
 public:
  Value(int64_t value) : Value([value](sqlite3_stmt* s, int i) { sqlite3_bind_int64(s, i, value); }) {}
  Value(int value) : Value(int64_t{value}) {}
  Value(double value) : Value([value](sqlite3_stmt* s, int i) { sqlite3_bind_double(s, i, value); }) {}
  Value(std::string value)
      : Value([value](sqlite3_stmt* s, int i) {
          sqlite3_bind_text64(s, i, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
        }) {}
  Value(const char* value) : Value(std::string(value)) {}
  Value(Blob value)
      : Value([value](sqlite3_stmt* s, int i) {
          sqlite3_bind_blob64(s, i, value.bytes.data(), value.bytes.size(), SQLITE_TRANSIENT);
        }) {}
  Value(std::nullptr_t /*null*/) : Value([](sqlite3_stmt* s, int i) { sqlite3_bind_null(s, i); }) {}
  void bind(sqlite3_stmt* statement, int index) const { bind_(statement, index); }

 private:
  explicit Value(std::function<void(sqlite3_stmt*, int)> bind) : bind_(std::move(bind)) {}
  std::function<void(sqlite3_stmt*, int)> bind_;
};

Blob blob(const std::vector<uint8_t>& bytes) { return {std::string(bytes.begin(), bytes.end())}; }

class Connection {
 public:
  explicit Connection(const std::string& path = ":memory:", bool load = true,
                      int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) {
    set_environment();
    EXPECT_EQ(sqlite3_open_v2(path.c_str(), &db_, flags, nullptr), SQLITE_OK) << path;
    if (!load) return;
    sqlite3_enable_load_extension(db_, 1);
    char* error = nullptr;
    EXPECT_EQ(sqlite3_load_extension(db_, kExtension, nullptr, &error), SQLITE_OK)
        << (error == nullptr ? "" : error);
    sqlite3_free(error);
  }
  ~Connection() { EXPECT_EQ(sqlite3_close(db_), SQLITE_OK) << "statements are left"; }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  sqlite3* db() const { return db_; }
  int code() const { return code_; }

  // Rows by lines, columns by '|'; an error as "error: ...".
  std::string ask(std::string_view sql, const std::vector<Value>& values = {}) {
    sqlite3_stmt* statement = nullptr;
    code_ = sqlite3_prepare_v2(db_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
    std::string answer;
    if (code_ == SQLITE_OK) {
      for (size_t i = 0; i < values.size(); i++) values[i].bind(statement, static_cast<int>(i) + 1);
      while ((code_ = sqlite3_step(statement)) == SQLITE_ROW) {
        if (!answer.empty()) answer += '\n';
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
          if (i > 0) answer += '|';
          answer += column(statement, i);
        }
      }
    }
    if (code_ != SQLITE_DONE) answer = std::string("error: ") + sqlite3_errmsg(db_);
    sqlite3_finalize(statement);
    return answer;
  }
  // Makes a function of a guest.
  void make(std::string_view name, std::string_view guest_name, std::string_view signature,
            std::string_view options = "{}") {
    EXPECT_EQ(ask("SELECT spore_create_function(?, ?, ?, 'wasm', ?)",
                  {std::string(name), blob(guest(guest_name)), std::string(signature), std::string(options)}),
              name);
  }

 private:
  static std::string column(sqlite3_stmt* statement, int i) {
    if (sqlite3_column_type(statement, i) == SQLITE_NULL) return "NULL";
    const bool blob =
        sqlite3_column_type(statement, i) == SQLITE_BLOB;  // else in UTF-8, whatever it is kept in
    const void* start = blob ? sqlite3_column_blob(statement, i) : sqlite3_column_text(statement, i);
    const auto* bytes = static_cast<const char*>(start);
    const auto size = static_cast<size_t>(sqlite3_column_bytes(statement, i));
    return size == 0 ? std::string() : std::string(bytes, size);
  }

  sqlite3* db_ = nullptr;
  int code_ = SQLITE_OK;
};

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }
#define EXPECT_HAS(text, part) EXPECT_PRED2(has, text, part)

constexpr std::string_view kAdd = "func(a: s32, b: s32) -> s32";

// --- making functions -------------------------------------------------------------------------------------

TEST(SqliteTest, AFunctionIsMadeCalledListedAndRemoved) {
  Connection db;
  EXPECT_FALSE(db.ask("SELECT spore_version()").empty());
  db.make("plus", "sqlite.wat", kAdd, R"({"description":"adds","author":"me"})");
  EXPECT_EQ(db.ask("SELECT plus(40, 2), PLUS(1, 1)"), "42|2");
  EXPECT_EQ(db.ask("SELECT name, kind, arity, calls, errors, enabled, description, author, problem FROM "
                   "spore_functions"),
            "plus|scalar|2|2|0|1|adds|me|NULL");
  EXPECT_EQ(db.ask("SELECT signature FROM spore_functions"), kAdd);
  EXPECT_HAS(db.ask("SELECT spore_create_function('plus', ?, NULL)", {blob(guest("sqlite.wat"))}), "already");
  EXPECT_EQ(db.ask("SELECT spore_drop_function('plus')"), "plus");
  EXPECT_EQ(db.ask("SELECT plus(1, 2)"), "error: plus: no such function: plus (it was removed)");
  EXPECT_EQ(db.ask("SELECT count(*) FROM spore_functions"), "0");
  EXPECT_EQ(db.ask("SELECT count(*) FROM spore_function"), "0");
  EXPECT_HAS(db.ask("SELECT spore_drop_function('plus')"), "there is no function 'plus'");
  db.make("plus", "sqlite.wat", kAdd);
  EXPECT_EQ(db.ask("SELECT plus(1, 2)"), "3");
}

TEST(SqliteTest, WhatIsWrongIsRefusedAndNothingIsHalfMade) {
  Connection db;
  const Blob module = blob(guest("sqlite.wat"));
  const auto refused = [&](const std::vector<Value>& values) {
    std::string marks = "?";
    for (size_t i = 1; i < values.size(); i++) marks += ", ?";
    return db.ask("SELECT spore_create_function(" + marks + ")", values);
  };
  EXPECT_HAS(refused({"plus", module, "func(a: f64) -> f64"}), "(f64) -> f64");
  EXPECT_HAS(refused({"plus", module, "func(a: f64) -> f64"}), "(i32, i32) -> i32");
  EXPECT_HAS(refused({"plus", module, "func(a: "}), "error: ");
  EXPECT_HAS(refused({"plus", module, nullptr}), "give its signature");
  EXPECT_HAS(refused({"9add", module, std::string(kAdd)}), "no name of a function");
  EXPECT_HAS(refused({nullptr, module, std::string(kAdd)}), "the name is missing");
  EXPECT_HAS(refused({"none", module, std::string(kAdd)}), "exports no 'none'");
  EXPECT_HAS(refused({"plus", Blob{"nonsense"}, std::string(kAdd)}), "error: spore_create_function: plus: ");
  EXPECT_HAS(refused({"plus", Blob{}, std::string(kAdd)}), "error: ");
  EXPECT_HAS(refused({"plus", 7, std::string(kAdd)}), "the source is INTEGER");
  EXPECT_HAS(refused({"plus", "no path", std::string(kAdd)}), "no path of a module");
  EXPECT_HAS(refused({"plus", "no/such/file.wasm", std::string(kAdd)}), "No such file");
  EXPECT_HAS(refused({"plus", module, std::string(kAdd), "wasm", "{\"pur\":true}"}), "no setting 'pur'");
  EXPECT_HAS(refused({"plus", module, std::string(kAdd), "wasm", "{"}), "error: ");
  EXPECT_HAS(refused({"plus", module, std::string(kAdd), "cobol"}), "error: ");
  EXPECT_HAS(refused({"plus", module, std::string(kAdd), "wasm", R"({"deadline_ms":99999999})"}),
             "SPORE_DEADLINE_MS");
  EXPECT_HAS(refused({"abs", module, "func(a: s32) -> s32", "wasm", R"({"export":"i32"})"}),
             "has a function 'abs'");
  EXPECT_HAS(refused({"spore_x", module, "func(a: s32) -> s32", "wasm", R"({"export":"i32"})"}), "are taken");
  EXPECT_HAS(refused({"plus"}), "2 to 5");
  EXPECT_EQ(db.ask("SELECT count(*) FROM spore_functions"), "0");
  EXPECT_EQ(db.ask("SELECT count(*) FROM sqlite_schema"), "0");
  EXPECT_HAS(db.ask("SELECT plus(1, 2)"), "no such function");
  // SQLite's own of another number of arguments is no obstacle.
  db.make("rank", "sqlite.wat", kAdd, R"({"export":"plus"})");
  EXPECT_EQ(db.ask("SELECT rank(1, 2), rank() OVER () FROM (SELECT 1)"), "3|1");
}

TEST(SqliteTest, AFunctionIsReplacedDisabledAndEnabled) {
  Connection db;
  db.make("f", "sqlite.wat", "func(a: s32) -> s32", R"({"export":"twice"})");
  EXPECT_EQ(db.ask("SELECT f(7)"), "14");
  const auto replace = [&](std::string_view signature, std::string_view options) {
    return db.ask("SELECT spore_replace_function('f', ?, ?, 'wasm', ?)",
                  {blob(guest("sqlite.wat")), std::string(signature), std::string(options)});
  };
  EXPECT_EQ(replace("func(a: s32) -> s32", R"({"export":"thrice"})"), "f");
  EXPECT_EQ(db.ask("SELECT f(7)"), "21");
  // A module that does not fit leaves all as it was; so do flags that SQLite holds.
  EXPECT_HAS(replace("func(a: f64) -> s32", R"({"export":"thrice"})"), "error: ");
  EXPECT_HAS(replace("func(a: s32) -> s32", R"({"export":"twice","pure":true})"),
             "until the connection is closed");
  EXPECT_EQ(db.ask("SELECT f(7)"), "21");
  // Another number of arguments.
  EXPECT_EQ(db.ask("SELECT spore_replace_function('f', ?, ?, 'wasm', ?)",
                   {blob(guest("sqlite.wat")), std::string(kAdd), R"({"export":"plus"})"}),
            "f");
  EXPECT_EQ(db.ask("SELECT f(7, 1)"), "8");
  EXPECT_HAS(db.ask("SELECT f(7)"), "takes 2 arguments, 1 given");
  EXPECT_HAS(db.ask("SELECT f(7, 1, 2)"), "wrong number of arguments");
  EXPECT_EQ(db.ask("SELECT spore_enable_function('f', 0)"), "f");
  EXPECT_HAS(db.ask("SELECT f(7, 1)"), "it is disabled");
  EXPECT_EQ(db.ask("SELECT enabled FROM spore_functions"), "0");
  EXPECT_EQ(db.ask("SELECT spore_load_functions()"), "0");
  EXPECT_HAS(db.ask("SELECT f(7, 1)"), "it is disabled");
  EXPECT_EQ(db.ask("SELECT spore_enable_function('f', 1)"), "f");
  EXPECT_EQ(db.ask("SELECT f(7, 1)"), "8");
  EXPECT_HAS(db.ask("SELECT spore_enable_function('f', 2)"), "0 or 1");
  EXPECT_HAS(db.ask("SELECT spore_enable_function('g', 1)"), "no function 'g'");
}

// A statement that runs goes on with the module that it began with; the next has the new one.
TEST(SqliteTest, AModuleIsReplacedWhileAQueryRuns) {
  Connection db;
  db.make("f", "sqlite.wat", "func(a: s32) -> s32", R"({"export":"twice"})");
  sqlite3_stmt* rows = nullptr;
  ASSERT_EQ(sqlite3_prepare_v2(
                db.db(),
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9) SELECT f(i) FROM n",
                -1, &rows, nullptr),
            SQLITE_OK);
  for (int i = 1; i <= 9; i++) {
    ASSERT_EQ(sqlite3_step(rows), SQLITE_ROW);
    EXPECT_EQ(sqlite3_column_int(rows, 0), 2 * i);
    if (i == 3) {
      EXPECT_EQ(db.ask("SELECT spore_replace_function('f', ?, 'func(a: s32) -> s32', 'wasm', "
                       "'{\"export\":\"thrice\"}')",
                       {blob(guest("sqlite.wat"))}),
                "f");
      EXPECT_EQ(db.ask("SELECT f(1)"), "3");
    }
    if (i == 6) {
      EXPECT_EQ(db.ask("SELECT spore_drop_function('f')"), "f");
      EXPECT_HAS(db.ask("SELECT f(1)"), "it was removed");
    }
  }
  EXPECT_EQ(sqlite3_step(rows), SQLITE_DONE);
  sqlite3_finalize(rows);
}

// --- values -----------------------------------------------------------------------------------------------

TEST(SqliteTest, NumbersCrossAtTheirEdges) {
  Connection db;
  const auto echo = [&](std::string_view type, std::string_view core) {
    const std::string name = "as_" + std::string(type);
    db.make(name, "sqlite.wat", "func(a: " + std::string(type) + ") -> " + std::string(type),
            R"({"export":")" + std::string(core) + "\"}");
    return "SELECT " + name + "(?)";
  };
  struct Integer {
    std::string_view type;
    std::string_view core;
    int64_t low;
    int64_t high;
  };
  for (const Integer& each :
       {Integer{"s8", "i32", INT8_MIN, INT8_MAX}, Integer{"u8", "i32", 0, UINT8_MAX},
        Integer{"s16", "i32", INT16_MIN, INT16_MAX}, Integer{"u16", "i32", 0, UINT16_MAX},
        Integer{"s32", "i32", INT32_MIN, INT32_MAX}, Integer{"u32", "i32", 0, UINT32_MAX},
        Integer{"s64", "i64", INT64_MIN, INT64_MAX}, Integer{"bool", "i32", 0, 1}}) {
    const std::string sql = echo(each.type, each.core);
    for (const int64_t value : {each.low, int64_t{0}, int64_t{1}, each.high}) {
      EXPECT_EQ(db.ask(sql, {value}), std::to_string(value)) << each.type;
    }
    EXPECT_EQ(db.ask(sql, {nullptr}), "NULL");
    EXPECT_HAS(db.ask(sql, {1.5}), "argument 1 (a) is REAL, not " + std::string(each.type));
    EXPECT_HAS(db.ask(sql, {"1"}), "argument 1 (a) is TEXT, not " + std::string(each.type));
    EXPECT_HAS(db.ask(sql, {Blob{"1"}}), "argument 1 (a) is BLOB, not " + std::string(each.type));
    if (each.type == "s64") continue;
    EXPECT_HAS(db.ask(sql, {each.low - 1}), "is outside of " + std::string(each.type));
    EXPECT_HAS(db.ask(sql, {each.high + 1}), "is outside of " + std::string(each.type));
  }

  const std::string u64 = echo("u64", "i64");
  EXPECT_EQ(db.ask(u64, {INT64_MAX}), "9223372036854775807");
  EXPECT_EQ(db.ask(u64, {"9223372036854775808"}), "9223372036854775808");
  EXPECT_EQ(db.ask(u64, {"18446744073709551615"}), "18446744073709551615");
  EXPECT_EQ(db.ask("SELECT typeof(as_u64(5)), typeof(as_u64('18446744073709551615'))"), "integer|text");
  for (const char* wrong : {"18446744073709551616", "-1", "", "1x", " 1"})
    EXPECT_HAS(db.ask(u64, {wrong}), "is no u64") << wrong;
  EXPECT_HAS(db.ask(u64, {-1}), "outside of u64");

  const std::string character = echo("char", "i32");
  for (const char* text : {"x", "ä", "€", "\U0001F600"}) EXPECT_EQ(db.ask(character, {text}), text);
  EXPECT_EQ(db.ask("SELECT hex(as_char(char(0)))"), "00");
  for (const char* wrong : {"", "xy", "\xff"}) EXPECT_HAS(db.ask(character, {wrong}), "is no char") << wrong;
  EXPECT_HAS(db.ask(character, {1}), "INTEGER, not char");
}

TEST(SqliteTest, FloatsCrossAtTheirEdges) {
  Connection db;
  db.make("f64", "sqlite.wat", "func(a: f64) -> f64");
  db.make("f32", "sqlite.wat", "func(a: f32) -> f32");
  sqlite3_stmt* statement = nullptr;
  const auto echo = [&](const char* sql, double value) {
    sqlite3_prepare_v2(db.db(), sql, -1, &statement, nullptr);
    sqlite3_bind_double(statement, 1, value);
    EXPECT_EQ(sqlite3_step(statement), SQLITE_ROW) << value << sqlite3_errmsg(db.db());
    EXPECT_EQ(sqlite3_column_type(statement, 0), SQLITE_FLOAT) << value;
    const double result = sqlite3_column_double(statement, 0);
    sqlite3_finalize(statement);
    return result;
  };
  using Double = std::numeric_limits<double>;
  for (const double value : {0.0, -0.0, 1.5, Double::max(), Double::lowest(), Double::min(),
                             Double::denorm_min(), Double::infinity(), -Double::infinity()}) {
    const double result = echo("SELECT f64(?)", value);
    EXPECT_EQ(result, value);
    EXPECT_EQ(std::signbit(result), std::signbit(value)) << value;
  }
  using Float = std::numeric_limits<float>;
  for (const float value :
       {0.0F, -0.0F, 1.5F, Float::max(), Float::lowest(), Float::denorm_min(), Float::infinity()}) {
    EXPECT_EQ(echo("SELECT f32(?)", value), value);
  }
  EXPECT_EQ(echo("SELECT f32(?)", 0.1), static_cast<double>(0.1F));
  EXPECT_HAS(db.ask("SELECT f32(?)", {Double::max()}), "outside of f32");
  // SQLite has no NaN: it is NULL before the function sees it, and a result that is one is NULL.
  EXPECT_EQ(db.ask("SELECT f64(?)", {Double::quiet_NaN()}), "NULL");
  db.make("root", "sqlite.wat", "func(a: f64) -> result<f64, string>");
  EXPECT_EQ(db.ask("SELECT f64(7), f64(?)", {INT64_MIN}), "7.0|-9.22337203685478e+18");
  EXPECT_EQ(db.ask("SELECT root(6.25)"), "2.5");
  EXPECT_EQ(db.ask("SELECT root(-1)"), "error: root: not a number");
}

TEST(SqliteTest, TextsAndBlobsOfEveryKindCross) {
  Connection db;
  db.make("same", "sqlite.wat", "func(a: string) -> string");
  db.make("bytes", "sqlite.wat", "func(a: bytes) -> bytes", R"({"export":"same"})");
  std::string long_text(10 << 20, 'x');
  long_text += "\U0001F600";
  for (const std::string& text :
       {std::string(), std::string("a\0b", 3), std::string("Grüße \U0001F600"), long_text}) {
    EXPECT_TRUE(db.ask("SELECT same(?)", {text}) == text) << text.size();
    EXPECT_TRUE(db.ask("SELECT bytes(?)", {Blob{text}}) == text) << text.size();
  }
  EXPECT_EQ(db.ask("SELECT typeof(same('')), typeof(bytes(x'')), typeof(bytes('a'))"), "text|blob|blob");
  EXPECT_EQ(db.ask("SELECT hex(bytes(x'00ff00'))"), "00FF00");
  EXPECT_EQ(db.ask("SELECT same(NULL), bytes(NULL)"), "NULL|NULL");
  EXPECT_HAS(db.ask("SELECT same(?)", {"\xff"}), "not UTF-8");
  EXPECT_HAS(db.ask("SELECT same(x'00')"), "argument 1 (a) is BLOB, not string (TEXT)");
  EXPECT_HAS(db.ask("SELECT same(1)"), "argument 1 (a) is INTEGER, not string (TEXT)");
  EXPECT_HAS(db.ask("SELECT bytes(1)"), "BLOB or TEXT");
  // Of a database in UTF-16, too.
  Connection wide;
  EXPECT_EQ(wide.ask("PRAGMA encoding = 'UTF-16'"), "");
  EXPECT_EQ(wide.ask("CREATE TABLE t AS SELECT 'Grüße \U0001F600' AS a"), "");
  wide.make("same", "sqlite.wat", "func(a: string) -> string");
  EXPECT_EQ(wide.ask("SELECT same(a) = a, length(same(a)) FROM t"), "1|7");
}

TEST(SqliteTest, WhatHasPartsIsJson) {
  Connection db;
  db.make("list", "sqlite.wat", "func(a: list<s32>) -> list<s32>", R"({"export":"same"})");
  EXPECT_EQ(db.ask("SELECT list('[1, 2,3]')"), "[1,2,3]");
  EXPECT_EQ(db.ask("SELECT json_array(list('[1,2]'))"), "[[1,2]]");
  EXPECT_EQ(db.ask("SELECT json_extract(list('[5,6]'), '$[1]')"), "6");
  EXPECT_HAS(db.ask("SELECT list('[1,\"x\"]')"), "argument 1 (a)");
  EXPECT_HAS(db.ask("SELECT list('[')"), "error: list: argument 1 (a)");
  EXPECT_HAS(db.ask("SELECT list(1)"), "(JSON as TEXT)");
  db.make("pairs", "sqlite.wat",
          "record pair { name: string, value: option<f64> } pairs: func(a: list<pair>) -> list<pair>",
          R"({"export":"same"})");
  EXPECT_EQ(db.ask(R"(SELECT pairs('[{"name":"a","value":1.5},{"name":"b"}]'))"),
            R"([{"name":"a","value":1.5},{"name":"b","value":null}])");
  db.make("more", "sqlite.wat", "func(a: option<f64>) -> option<f64>");
  EXPECT_EQ(db.ask("SELECT more(1.5), more(NULL), more()"), "2.5|NULL|NULL");
  EXPECT_HAS(db.ask("SELECT more('x')"), "argument 1 (a) is TEXT, not option<f64>");
  db.make("color", "sqlite.wat", "enum paint { red, green } color: func(a: paint) -> paint",
          R"({"export":"i32"})");
  EXPECT_EQ(db.ask("SELECT color('green')"), "green");
  EXPECT_HAS(db.ask("SELECT color('blue')"), "'blue' is no paint");
  db.make("no_result", "sqlite.wat", "func(a: s32)", R"({"export":"nothing"})");
  EXPECT_EQ(db.ask("SELECT no_result(1)"), "NULL");
  db.make("gather", "udf.wat", "func(a: list<s32>) -> list<s32>", R"({"export":"same","variadic":true})");
  EXPECT_HAS(db.ask("SELECT gather(1, 2, 3)"), "[1,2,3]");
}

TEST(SqliteTest, ADocumentIsReadAsItIsAskedFor) {
  Connection db;
  db.make("amount", "udf.wat", "func() -> f64");
  db.make("name_of", "udf.wat", "func() -> string");
  EXPECT_EQ(db.ask("SELECT amount(), amount(NULL)"), "-1.0|-1.0");
  EXPECT_EQ(db.ask(R"(SELECT amount('{"price":{"amount":2.5}}'))"), "2.5");
  EXPECT_EQ(db.ask("SELECT amount('price.amount', 4)"), "4.0");
  EXPECT_EQ(db.ask(R"(SELECT amount('name', 'x', 'price', '{"amount":3}'))"), "3.0");
  EXPECT_EQ(db.ask("SELECT amount('price', 5), amount('price', NULL)"), "-1.0|-1.0");
  EXPECT_EQ(db.ask("CREATE TABLE t AS SELECT 'Ann' AS name, 1 AS price UNION SELECT 'Bo', 2"), "");
  EXPECT_EQ(db.ask("SELECT name_of('name', name, 'price', price) FROM t"), "Ann\nBo");
  EXPECT_HAS(db.ask("SELECT amount('a', 1, 'b')"), "names and values in turn");
  EXPECT_HAS(db.ask("SELECT amount(1, 2)"), "the name of field 1 of its document is INTEGER");
  EXPECT_HAS(db.ask("SELECT amount('[]')"), "no JSON object");
  EXPECT_HAS(db.ask("SELECT amount('{')"), "error: amount: its document");
}

// --- failures ---------------------------------------------------------------------------------------------

TEST(SqliteTest, AGuestThatFailsFailsItsStatementAlone) {
  Connection db;
  EXPECT_EQ(db.ask("CREATE TABLE t(a)"), "");
  db.make("trap_on_zero", "udf.wat", "func(a: u32) -> u32");
  db.make("loop", "udf.wat", "func(a: s32) -> s32", R"({"deadline_ms":20})");
  db.make("fill", "udf.wat", "func(a: s32) -> s32", R"({"memory_bytes_max":1048576})");
  db.make("not_utf8", "udf.wat", "func(a: string) -> string");
  db.make("outside", "udf.wat", "func(a: string) -> string");
  db.make("large", "udf.wat", "func(a: u32) -> string");
  db.make("plus", "sqlite.wat", kAdd);
  const auto expect_error = [&](std::string_view sql, std::string_view part) {
    EXPECT_HAS(db.ask(sql), part);
    EXPECT_EQ(db.code(), SQLITE_ERROR) << sql;
    EXPECT_EQ(db.ask("SELECT plus(1, 2)"), "3");
  };
  expect_error("SELECT trap_on_zero(0)", "trap_on_zero: ");
  expect_error("SELECT trap_on_zero(0)", "divide by zero");
  expect_error("SELECT loop(1)", "deadline");
  expect_error("SELECT not_utf8('a')", "UTF-8");
  expect_error("SELECT outside('a')", "not inside the memory");
  expect_error("SELECT large(68157440)", "copy_bytes_max");
  expect_error("SELECT plus(1)", "wrong number of arguments to function plus()");
  EXPECT_EQ(db.ask("SELECT fill(1) < 100000"), "1");
  // What a statement that fails has written is gone, and the connection goes on.
  expect_error("INSERT INTO t SELECT trap_on_zero(a) FROM (SELECT 5 AS a UNION ALL SELECT 0)",
               "divide by zero");
  EXPECT_EQ(db.ask("SELECT count(*) FROM t"), "0");
  EXPECT_EQ(db.ask("SELECT errors FROM spore_functions WHERE name = 'trap_on_zero'"), "3");
}

TEST(SqliteTest, IsolationIsByCallOrByStatement) {
  Connection db;
  db.make("each", "udf.wat", "func() -> u32", R"({"export":"calls"})");
  db.make("all_calls", "udf.wat", "func() -> u32", R"({"export":"calls","isolation":"statement"})");
  const std::string rows = " FROM (SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3)";
  EXPECT_EQ(db.ask("SELECT each()" + rows), "1\n1\n1");
  EXPECT_EQ(db.ask("SELECT all_calls()" + rows), "1\n2\n3");
  EXPECT_EQ(db.ask("SELECT all_calls() + all_calls()"), "3");
  EXPECT_EQ(db.ask("SELECT all_calls()"), "1");
  // A statement that is used again begins anew.
  sqlite3_stmt* statement = nullptr;
  sqlite3_prepare_v2(db.db(), "SELECT all_calls()", -1, &statement, nullptr);
  for (int i = 0; i < 3; i++) {
    EXPECT_EQ(sqlite3_step(statement), SQLITE_ROW);
    EXPECT_EQ(sqlite3_column_int(statement, 0), 1);
    sqlite3_reset(statement);
  }
  sqlite3_finalize(statement);
}

// Another thread interrupts while a guest loops; its deadline is far away.
TEST(SqliteTest, AnInterruptEndsTheGuest) {
  Connection db;
  db.make("loop", "sqlite.wat", "func(a: s32) -> s32");
  db.make("rows", "sqlite.wat", "func(a: s64) -> s64", R"({"kind":"aggregate"})");
  for (int i = 0; i < 3; i++) {
    std::atomic<bool> done{false};
    std::jthread other([&] {
      while (!done) {
        sqlite3_interrupt(db.db());
        std::this_thread::yield();
      }
    });
    EXPECT_HAS(db.ask("SELECT loop(1)"), "error: ");
    EXPECT_EQ(db.code(), SQLITE_INTERRUPT);
    done = true;
    other.join();
    EXPECT_EQ(db.ask("SELECT loop(0)"), "7");
  }
}

// --- aggregates, tables, batches
// ------------------------------------------------------------------------------

TEST(SqliteTest, AGroupIsAnInstanceOfItsOwn) {
  Connection db;
  db.make("rows", "sqlite.wat", "func(a: s64) -> s64", R"({"kind":"aggregate"})");
  EXPECT_EQ(db.ask("CREATE TABLE t(g, a)"), "");
  EXPECT_EQ(db.ask("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT 9000) INSERT INTO t "
                   "SELECT i % 3000, i FROM n"),
            "");
  EXPECT_EQ(db.ask("SELECT rows(a) FROM t"), db.ask("SELECT sum(a) FROM t"));
  EXPECT_EQ(db.ask("SELECT count(*) FROM (SELECT rows(a) AS r, sum(a) AS s FROM t GROUP BY g) WHERE r = s"),
            "3000");
  EXPECT_EQ(db.ask("SELECT rows(a), rows(a) FILTER (WHERE a < 3), rows(DISTINCT g) FROM t"),
            "40495500|3|4498500");
  EXPECT_EQ(db.ask("SELECT rows(a) FROM t WHERE 0"), "0");
  EXPECT_EQ(db.ask("SELECT rows(a) FROM (SELECT 1 AS a UNION ALL SELECT NULL UNION ALL SELECT 2)"), "3");
  EXPECT_HAS(db.ask("SELECT rows('x') FROM t"), "argument 1 (a) is TEXT");
  EXPECT_HAS(db.ask("SELECT rows(a - 5000) FROM t"), "unreachable");
  EXPECT_HAS(db.ask("SELECT rows(a) OVER () FROM t"), "may not be used as a window function");
  EXPECT_EQ(db.ask("SELECT rows(a) FROM t WHERE a < 10"), "45");
  EXPECT_HAS(db.ask("SELECT spore_create_function('total', ?, 'func(a: string) -> f64', 'wasm', "
                    "'{\"kind\":\"aggregate\"}')",
                    {blob(guest("udf.wat"))}),
             "error: ");
}

TEST(SqliteTest, ATableFunctionGivesRows) {
  Connection db;
  db.make("words", "sqlite.wat",
          "record word { text: string, length-of: u32 } words: func(of: list<word>) -> list<word>",
          R"({"kind":"table"})");
  const std::string of = R"('[{"text":"a","length-of":1},{"text":"bc","length-of":2}]')";
  EXPECT_EQ(db.ask("SELECT * FROM words(" + of + ")"), "a|1\nbc|2");
  EXPECT_EQ(db.ask("SELECT text FROM words WHERE of = " + of + " AND length_of = 2"), "bc");
  EXPECT_EQ(db.ask("SELECT count(*), max(rowid), of = " + of + " FROM words(" + of + ")"), "2|2|1");
  EXPECT_EQ(db.ask("SELECT * FROM words(NULL)"), "");
  EXPECT_EQ(db.ask("SELECT t.i, w.text FROM (SELECT 1 AS i UNION ALL SELECT 2) t, words(" + of +
                   ") w ORDER BY 1, 2"),
            "1|a\n1|bc\n2|a\n2|bc");
  EXPECT_EQ(db.ask("CREATE TABLE docs AS SELECT 1 AS i, '[]' AS d UNION ALL SELECT 2, " + of), "");
  EXPECT_EQ(db.ask("SELECT i, text FROM docs, words(docs.d)"), "2|a\n2|bc");
  EXPECT_EQ(db.ask("SELECT i, text FROM words(docs.d), docs"), "2|a\n2|bc");
  EXPECT_HAS(db.ask("SELECT * FROM words"), "takes 1 argument");
  EXPECT_HAS(db.ask("SELECT * FROM words('x')"), "argument 1 (of)");
  EXPECT_HAS(db.ask("SELECT * FROM words(1, 2)"), "too many arguments");
  // Other columns, which a statement that was prepared before has, too.
  sqlite3_stmt* before = nullptr;
  sqlite3_prepare_v2(db.db(), "SELECT * FROM words('[5]')", -1, &before, nullptr);
  EXPECT_EQ(db.ask("SELECT spore_replace_function('words', ?, 'func(of: list<s32>) -> list<s32>', 'wasm', "
                   "'{\"kind\":\"table\"}')",
                   {blob(guest("sqlite.wat"))}),
            "words");
  EXPECT_EQ(db.ask("SELECT value FROM words('[5,6]')"), "5\n6");
  EXPECT_EQ(sqlite3_step(before), SQLITE_ROW);
  EXPECT_EQ(sqlite3_column_int(before, 0), 5);
  EXPECT_EQ(sqlite3_column_count(before), 1);
  sqlite3_finalize(before);
  EXPECT_EQ(db.ask("SELECT spore_drop_function('words')"), "words");
  EXPECT_HAS(db.ask("SELECT * FROM words('[5,6]')"), "it was removed");
  EXPECT_HAS(db.ask("CREATE VIRTUAL TABLE v USING spore_functions"), "no such module");
  EXPECT_HAS(db.ask("SELECT spore_create_function('json_each', ?, 'func(of: list<s32>) -> list<s32>', "
                    "'wasm', '{\"kind\":\"table\",\"export\":\"same\"}')",
                    {blob(guest("sqlite.wat"))}),
             "is a virtual table");
}

TEST(SqliteTest, AMapCallsForTheRowsOfAQuery) {
  Connection db;
  db.make("plus", "sqlite.wat", kAdd);
  db.make("same", "sqlite.wat", "func(a: string) -> string");
  EXPECT_EQ(db.ask("CREATE TABLE t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT "
                   "2500) SELECT i AS a, 1 AS b FROM n"),
            "");
  EXPECT_EQ(db.ask("SELECT count(*), sum(result), max(\"row\"), count(error) FROM spore_map('plus', 'SELECT "
                   "a, b FROM t')"),
            "2500|3128750|2500|0");
  EXPECT_EQ(db.ask("SELECT result FROM spore_map('same', 'SELECT ''x'' || a FROM t LIMIT 3')"), "x1\nx2\nx3");
  // A row that fails fails alone: two zeros are a trap in the batch, and none by themselves.
  EXPECT_EQ(db.ask("SELECT \"row\", result, error FROM spore_map('plus', 'SELECT 1, 2 UNION ALL SELECT NULL, "
                   "1 UNION ALL SELECT ''x'', 1 UNION ALL SELECT 0, 0')"),
            "1|3|NULL\n2|NULL|NULL\n3|NULL|argument 1 (a) is TEXT, not s32 (INTEGER)\n4|0|NULL");
  EXPECT_EQ(db.ask("SELECT * FROM spore_map('plus', 'SELECT 1, 2 WHERE 0')"), "");
  db.make("amount", "udf.wat", "func() -> f64");
  EXPECT_EQ(
      db.ask("SELECT result FROM spore_map('amount', 'SELECT 7 AS \"price.amount\" UNION ALL SELECT 8')"),
      "7.0\n8.0");
  EXPECT_HAS(db.ask("SELECT * FROM spore_map('plus', 'DELETE FROM t')"), "none that only reads");
  EXPECT_HAS(db.ask("SELECT * FROM spore_map('plus', '')"), "none that only reads");
  EXPECT_HAS(db.ask("SELECT * FROM spore_map('plus', 'SELECT 1')"), "takes 2 arguments, 1 given");
  EXPECT_HAS(db.ask("SELECT * FROM spore_map('none', 'SELECT 1')"), "no function 'none'");
  EXPECT_HAS(db.ask("SELECT * FROM spore_map('plus', 'SELEC')"), "syntax error");
  EXPECT_HAS(db.ask("SELECT * FROM spore_map('plus')"), "the name of a function and a query");
}

// --- databases
// ----------------------------------------------------------------------------------------------

// All that a file can have that SQLite evaluates by itself.
TEST(SqliteTest, AHostileFileRunsNothing) {
  const TemporaryFolder folder;
  const std::string path = folder.path() / "hostile.db";
  {
    Connection db(path);
    db.make("f", "sqlite.wat", "func(a: s32) -> s32", R"({"export":"twice"})");
    for (const char* sql :
         {"CREATE TABLE t(a)", "INSERT INTO t VALUES(1)", "CREATE VIEW v AS SELECT f(a) AS x FROM t",
          "CREATE VIEW m AS SELECT spore_create_function('g', 'g.wasm', NULL) AS x",
          "CREATE VIEW s AS SELECT * FROM spore_functions",
          "CREATE VIEW q AS SELECT * FROM spore_map('f', 'SELECT 1')",
          "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT f(new.a); END",
          "CREATE TRIGGER l AFTER DELETE ON t BEGIN SELECT spore_load_functions(); END"}) {
      EXPECT_EQ(db.ask(sql), "") << sql;
    }
    // DIRECTONLY: by what is in a file they are not called even where they are there.
    for (const char* sql : {"SELECT * FROM v", "SELECT * FROM m", "SELECT * FROM s", "SELECT * FROM q",
                            "INSERT INTO t VALUES(2)", "DELETE FROM t"}) {
      EXPECT_HAS(db.ask(sql), "unsafe use of") << sql;
    }
    for (const char* sql : {"CREATE INDEX i ON t(f(a))", "CREATE TABLE g(a, b AS (f(a)))"}) {
      EXPECT_HAS(db.ask(sql), "error: ") << sql;
    }
    EXPECT_EQ(db.ask("CREATE TABLE d(a DEFAULT (f(1)), b)"), "");
    EXPECT_HAS(db.ask("INSERT INTO d(b) VALUES(1)"), "unsafe use of f()");
    EXPECT_EQ(db.ask("SELECT f(a) FROM t"), "2");
  }
  // Where the extension is loaded, nothing of the file is before it was asked for.
  Connection db(path);
  EXPECT_HAS(db.ask("SELECT f(1)"), "no such function");
  EXPECT_HAS(db.ask("SELECT * FROM v"), "error: ");
  EXPECT_HAS(db.ask("DELETE FROM t"), "unsafe use of spore_load_functions()");
  EXPECT_EQ(db.ask("SELECT count(*) FROM spore_functions"), "0");
  EXPECT_EQ(db.ask("SELECT spore_load_functions()"), "1");
  EXPECT_EQ(db.ask("SELECT f(1)"), "2");
  EXPECT_HAS(db.ask("SELECT * FROM v"), "unsafe use of f()");
  // Where it is not, the file is a file.
  Connection without(path, false);
  EXPECT_EQ(without.ask("SELECT a FROM t"), "1");
  EXPECT_HAS(without.ask("SELECT f(1)"), "no such function: f");
  EXPECT_EQ(without.ask("SELECT name FROM spore_function"), "f");
}

// Of functions that are not deterministic SQLite forgets to ask whether a constraint may call them.
TEST(SqliteTest, AConstraintOfAFileCallsNothing) {
  const TemporaryFolder folder;
  const std::string path = folder.path() / "hostile.db";
  {
    Connection db(path);
    db.make("f", "sqlite.wat", "func(a: s32) -> s32", R"({"export":"twice"})");
    db.make("h", "sqlite.wat", "func(a: s32) -> s32", R"({"export":"twice","innocuous":true})");
  }
  {
    // Who made the file had functions of these names, and no such scruples.
    Connection db(path, false);
    const auto one = [](sqlite3_context* context, int, sqlite3_value**) { sqlite3_result_int(context, 1); };
    for (const char* name : {"f", "h"}) {
      const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
      sqlite3_create_function_v2(db.db(), name, -1, flags, nullptr, one, nullptr, nullptr, nullptr);
    }
    EXPECT_EQ(db.ask("CREATE TABLE c(f, a CHECK(\"F\" /* so */ (a) > 0))"), "");
    EXPECT_EQ(db.ask("CREATE TABLE i(a CHECK(h(a) > 0))"), "");
    Connection other(folder.path() / "loading.db", false);
    sqlite3_create_function_v2(other.db(), "spore_load_functions", 0, SQLITE_UTF8, nullptr, one, nullptr,
                               nullptr, nullptr);
    EXPECT_EQ(other.ask("CREATE TABLE l(a CHECK(spore_load_functions() > 0))"), "");
  }
  {
    Connection db(folder.path() / "loading.db");
    EXPECT_HAS(db.ask("INSERT INTO l VALUES(1)"), "unsafe use of spore_load_functions()");
    EXPECT_HAS(db.ask("PRAGMA integrity_check"), "unsafe use of spore_load_functions()");
  }
  Connection db(path);
  EXPECT_EQ(db.ask("SELECT spore_load_functions()"), "1");
  EXPECT_HAS(db.ask("SELECT problem FROM spore_functions WHERE name = 'f'"),
             "the table 'c' calls it in a constraint");
  EXPECT_HAS(db.ask("INSERT INTO c(a) VALUES(1)"), "error: ");
  EXPECT_EQ(db.ask("INSERT INTO i VALUES(1)"), "");
  EXPECT_HAS(
      db.ask("SELECT spore_replace_function('f', ?, 'func(a: s32) -> s32', 'wasm', '{\"export\":\"twice\"}')",
             {blob(guest("sqlite.wat"))}),
      "calls it in a constraint");
}

TEST(SqliteTest, AnInnocuousPureFunctionIndexes) {
  const TemporaryFolder folder;
  const std::string path = folder.path() / "index.db";
  {
    Connection db(path);
    db.make("twice", "sqlite.wat", "func(a: s32) -> s32", R"({"pure":true,"innocuous":true})");
    EXPECT_EQ(db.ask("CREATE TABLE t(a, b AS (twice(a)))"), "");
    EXPECT_EQ(db.ask("CREATE INDEX i ON t(twice(a))"), "");
    EXPECT_EQ(db.ask("INSERT INTO t VALUES(1), (2), (3)"), "");
    EXPECT_HAS(db.ask("EXPLAIN QUERY PLAN SELECT a FROM t WHERE twice(a) = 4"), "USING INDEX i");
    EXPECT_EQ(db.ask("SELECT a, b FROM t WHERE twice(a) = 4"), "2|4");
    EXPECT_EQ(db.ask("CREATE VIEW v AS SELECT twice(a) AS x FROM t"), "");
    EXPECT_EQ(db.ask("PRAGMA trusted_schema = 0"), "");
    EXPECT_EQ(db.ask("SELECT * FROM v"), "2\n4\n6");
    // Called for each row, if it may give something else each time; once, if it may not.
    db.make("thrice", "sqlite.wat", "func(a: s32) -> s32");
    EXPECT_EQ(db.ask("SELECT sum(a) FROM t WHERE a < twice(8) AND a < thrice(8)"), "6");
    EXPECT_EQ(db.ask("SELECT calls FROM spore_functions WHERE name = 'thrice'"), "3");
    EXPECT_HAS(db.ask("CREATE INDEX j ON t(thrice(a))"), "non-deterministic functions prohibited");
  }
  // Without the extension the table cannot be changed, but nothing is broken.
  {
    Connection db(path, false);
    EXPECT_HAS(db.ask("INSERT INTO t VALUES(4)"), "unknown function: twice()");
    EXPECT_EQ(db.ask("SELECT count(a) FROM t"), "3");
  }
  Connection db(path);
  EXPECT_EQ(db.ask("SELECT spore_load_functions()"), "2");
  EXPECT_EQ(db.ask("INSERT INTO t VALUES(4)"), "");
  EXPECT_EQ(db.ask("PRAGMA integrity_check"), "ok");
}

TEST(SqliteTest, WhatIsBrokenInTheTableIsNamedAndTheRestIsLoaded) {
  const TemporaryFolder folder;
  const std::string path = folder.path() / "broken.db";
  {
    Connection db(path);
    for (const char* name : {"good", "modul", "options", "type", "hash", "sum2"}) {
      db.make(name, "sqlite.wat", "func(a: s32) -> s32", R"({"export":"twice"})");
    }
    db.ask(
        "UPDATE spore_function SET source = x'00', sha256 = "
        "'6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d' WHERE name = 'modul'");
    db.ask("UPDATE spore_function SET options = '{\"x\":1}' WHERE name = 'options'");
    db.ask("UPDATE spore_function SET source = 'text' WHERE name = 'type'");
    db.ask("UPDATE spore_function SET sha256 = '00' WHERE name = 'hash'");
    db.ask("UPDATE spore_function SET name = 'x''y' WHERE name = 'sum2'");
  }
  Connection db(path);
  EXPECT_EQ(db.ask("SELECT spore_load_functions()"), "1");
  EXPECT_EQ(db.ask("SELECT good(2)"), "4");
  EXPECT_EQ(db.ask("SELECT name FROM spore_functions WHERE problem IS NULL"), "good");
  EXPECT_HAS(db.ask("SELECT problem FROM spore_functions WHERE name = 'options'"), "no setting 'x'");
  EXPECT_HAS(db.ask("SELECT problem FROM spore_functions WHERE name = 'type'"), "its source is TEXT");
  EXPECT_HAS(db.ask("SELECT problem FROM spore_functions WHERE name = 'hash'"), "sha256");
  EXPECT_HAS(db.ask("SELECT problem FROM spore_functions WHERE name = 'x''y'"), "no name of a function");
  EXPECT_HAS(db.ask("SELECT modul(1)"), "it could not be loaded: ");
  // It can be made again, and be removed.
  EXPECT_EQ(db.ask("SELECT spore_replace_function('modul', ?, 'func(a: s32) -> s32', 'wasm', "
                   "'{\"export\":\"twice\"}')",
                   {blob(guest("sqlite.wat"))}),
            "modul");
  EXPECT_EQ(db.ask("SELECT modul(1)"), "2");
  for (const char* name : {"options", "type", "hash", "x'y"})
    EXPECT_EQ(db.ask("SELECT spore_drop_function(?)", {name}), name);
  EXPECT_EQ(db.ask("SELECT group_concat(name) FROM spore_functions"), "good,modul");
}

TEST(SqliteTest, ATableThatIsNotOursIsRefused) {
  for (const char* sql :
       {"CREATE VIEW spore_function AS SELECT 1 AS name", "CREATE TABLE spore_function(name)",
        "CREATE VIRTUAL TABLE spore_function USING fts5(name)",
        "CREATE TABLE SPORE_function(name TEXT, b AS (name))"}) {
    Connection db;
    EXPECT_EQ(db.ask(sql), "");
    EXPECT_HAS(db.ask("SELECT spore_load_functions()"), "is not the table that Spore makes") << sql;
    EXPECT_HAS(
        db.ask("SELECT spore_create_function('plus', ?, ?)", {blob(guest("sqlite.wat")), std::string(kAdd)}),
        "is not the table");
    EXPECT_HAS(db.ask("SELECT plus(1, 2)"), "no such function");
  }
}

TEST(SqliteTest, AReadOnlyDatabaseIsNotWritten) {
  const TemporaryFolder folder;
  const std::string path = folder.path() / "readonly.db";
  {
    Connection db(path);
    db.make("twice", "sqlite.wat", "func(a: s32) -> s32");
  }
  Connection db(path, true, SQLITE_OPEN_READONLY);
  EXPECT_EQ(db.ask("SELECT spore_load_functions()"), "1");
  EXPECT_EQ(db.ask("SELECT twice(4)"), "8");
  for (const char* sql :
       {"SELECT spore_create_function('plus', 'x.wasm', 'func()')", "SELECT spore_drop_function('twice')",
        "SELECT spore_enable_function('twice', 0)"}) {
    EXPECT_HAS(db.ask(sql), "error: ") << sql;
  }
  EXPECT_HAS(
      db.ask("SELECT spore_create_function('plus', ?, ?)", {blob(guest("sqlite.wat")), std::string(kAdd)}),
      "read-only");
  EXPECT_HAS(db.ask("SELECT plus(1, 2)"), "no such function");
}

TEST(SqliteTest, AStatementThatWritesMakesNoFunctions) {
  Connection db;
  EXPECT_EQ(db.ask("CREATE TABLE t(a)"), "");
  EXPECT_HAS(db.ask("INSERT INTO t SELECT spore_create_function('plus', ?, ?)",
                    {blob(guest("sqlite.wat")), std::string(kAdd)}),
             "error: ");
  EXPECT_HAS(db.ask("SELECT plus(1, 2)"), "no such function");
  EXPECT_EQ(db.ask("SELECT count(*) FROM sqlite_schema WHERE name = 'spore_function'"), "0");
  // Within a transaction it is part of it.
  EXPECT_EQ(db.ask("BEGIN"), "");
  db.make("plus", "sqlite.wat", kAdd);
  EXPECT_EQ(db.ask("COMMIT"), "");
  EXPECT_EQ(db.ask("SELECT plus(1, 2)"), "3");
}

TEST(SqliteTest, ConnectionsHaveFunctionsOfTheirOwn) {
  Connection one;
  Connection two;
  one.make("f", "sqlite.wat", "func(a: s32) -> s32", R"({"export":"twice"})");
  two.make("f", "sqlite.wat", "func(a: s32) -> s32", R"({"export":"thrice"})");
  EXPECT_EQ(one.ask("SELECT f(5)"), "10");
  EXPECT_EQ(two.ask("SELECT f(5)"), "15");
  EXPECT_EQ(one.ask("SELECT spore_drop_function('f')"), "f");
  EXPECT_EQ(two.ask("SELECT f(5)"), "15");
  // Loading it twice changes nothing.
  char* error = nullptr;
  EXPECT_EQ(sqlite3_load_extension(two.db(), kExtension, nullptr, &error), SQLITE_OK);
  EXPECT_EQ(two.ask("SELECT f(5)"), "15");
}

TEST(SqliteTest, ThreadsCallAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 20;
  set_environment();
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; t++) {
    threads.emplace_back([t] {
      Connection db;
      const std::string factor = t % 2 == 0 ? "twice" : "thrice";
      db.make("f", "sqlite.wat", "func(a: s32) -> s32", R"({"export":")" + factor + "\"}");
      db.make("same", "sqlite.wat", "func(a: string) -> string");
      for (int i = 0; i < kRounds; i++) {
        EXPECT_EQ(db.ask("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100) SELECT "
                         "sum(f(i)), max(same('x' || i)) FROM n"),
                  (t % 2 == 0 ? "10100" : "15150") + std::string("|x99"));
      }
    });
  }
}

// --- Python, and programs that load it
// --------------------------------------------------------------------------

bool has_python_runtime() { return fs::exists(SPORE_SOURCE_DIR "/build/guests/python.wasm"); }

TEST(SqliteTest, APythonFunctionIsMadeAndSaysWhereItFailed) {
  if (!has_python_runtime()) GTEST_SKIP() << "there is no CPython: run tools/guests.sh";
  Connection db;
  EXPECT_EQ(db.ask("SELECT spore_create_function('ratio', ?, 'func(a: f64, b: f64) -> f64', 'python')",
                   {"def ratio(a, b):\n    return a / b\n"}),
            "ratio");
  EXPECT_EQ(db.ask("SELECT ratio(1, 4)"), "0.25");
  EXPECT_EQ(db.ask("SELECT ratio(1, 0)"),
            "error: ratio: ratio.py:2: ZeroDivisionError: float division by zero");
  EXPECT_EQ(db.ask("SELECT ratio(3, 4)"), "0.75");
  EXPECT_EQ(db.ask("SELECT count(*), sum(result), count(error) FROM spore_map('ratio', 'SELECT 1, 4 UNION "
                   "ALL SELECT 1, 0 UNION ALL SELECT 1, 2')"),
            "3|0.75|1");
  EXPECT_HAS(db.ask("SELECT spore_create_function('bad', 'def bad(a:', 'func(a: f64) -> f64', 'python')"),
             "SyntaxError");
  EXPECT_HAS(db.ask("SELECT spore_create_function('nosig', 'def nosig(): pass', NULL, 'python')"),
             "needs a signature");
  EXPECT_EQ(db.ask("SELECT spore_create_function('spin', 'def spin(a):\n    while True: pass', 'func(a: s64) "
                   "-> s64', 'python', '{\"deadline_ms\":500}')"),
            "spin");
  EXPECT_HAS(db.ask("SELECT spin(1)"), "deadline");
  std::atomic<bool> done{false};
  EXPECT_EQ(db.ask("SELECT spore_create_function('forever', 'def forever(a):\n    while True: pass', "
                   "'func(a: s64) -> s64', 'python')"),
            "forever");
  std::jthread other([&] {
    while (!done) {
      sqlite3_interrupt(db.db());
      std::this_thread::yield();
    }
  });
  EXPECT_HAS(db.ask("SELECT forever(1)"), "error: ");
  EXPECT_EQ(db.code(), SQLITE_INTERRUPT);
  done = true;
}

TEST(SqliteTest, AFileOfPythonIsReadWhereItsPathIsGiven) {
  if (!has_python_runtime()) GTEST_SKIP() << "there is no CPython: run tools/guests.sh";
  const TemporaryFolder folder;
  const std::string file = folder.write("twice.py", "def twice(a):\n    return 2 * a\n");
  Connection db;
  EXPECT_EQ(db.ask("SELECT spore_create_function('twice', ?, 'func(a: s64) -> s64')", {file}), "twice");
  EXPECT_EQ(db.ask("SELECT language, twice(4) FROM spore_functions"), "python|8");
  EXPECT_HAS(db.ask("SELECT spore_create_function('other', 'no/such.py', 'func(a: s64) -> s64')"),
             "there is no file");
}

class SqliteProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "a program without the sanitizer cannot load a library that has it";
    set_environment();
    wasm_ = folder_.write("guest.wasm", blob(guest("sqlite.wat")).bytes);
  }
  ProcessOptions options() const {
    return {.environment = {{"SPORE_HOME", kHome}, {"SPORE_COMPILE_HELPER", SPORE_COMPILE_HELPER}},
            .folder = folder_.path()};
  }
  TemporaryFolder folder_;
  std::string wasm_;
};

TEST_F(SqliteProgramTest, TheShellLoadsIt) {
  const std::string create = "SELECT spore_create_function('twice', 'guest.wasm', 'func(a: s32) -> s32');";
  ProcessResult result = run_process(
      {"sqlite3", "t.db", "-cmd", std::string(".load ") + kExtension, create + "SELECT twice(21);"},
      options());
  EXPECT_EQ(result.out, "twice\n42\n") << result.err;
  result = run_process({"sqlite3", "t.db", "-cmd", std::string(".load ") + kExtension, "SELECT twice(21);"},
                       options());
  EXPECT_HAS(result.err, "no such function: twice");
  ProcessOptions loading = options();
  loading.environment.emplace_back("SPORE_SQLITE_LOAD", "1");
  result = run_process({"sqlite3", "t.db", "-cmd", std::string(".load ") + kExtension, "SELECT twice(21);"},
                       loading);
  EXPECT_EQ(result.out, "42\n") << result.err;
}

// The statement has begun when its first column was written.
TEST_F(SqliteProgramTest, ControlCEndsTheGuestInTheShell) {
  const std::string script = folder_.write(
      "loop.sql", std::string(".load ") + kExtension +
                      "\nSELECT spore_create_function('loop', 'guest.wasm', 'func(a: s32) -> s32');\n"
                      "SELECT writefile('begun', 'x'), loop(1);\n");
  ProcessOptions from = options();
  from.input_path = script;
  Process shell({"sqlite3", "-batch", ":memory:"}, from);
  while (!fs::exists(folder_.path() / "begun")) std::this_thread::yield();
  shell.send(SIGINT);
  const ProcessResult result = shell.wait();
  EXPECT_HAS(result.err, "loop: ");
}

constexpr std::string_view kProgram = R"script(
import sqlite3, sys, threading

db = sqlite3.connect(':memory:', check_same_thread=False)
db.enable_load_extension(True)
db.load_extension(sys.argv[1])
create = "SELECT spore_create_function(?, ?, 'func(a: s32) -> s32')"
db.execute(create, ('twice', open('guest.wasm', 'rb').read()))
print(db.execute("SELECT twice(21)").fetchone()[0])
try:
    db.execute("SELECT twice('x')").fetchone()
except sqlite3.OperationalError as error:
    print(error)

db.execute(create, ('loop', 'guest.wasm'))
done = threading.Event()
def interrupt():
    while not done.wait(0.01):
        db.interrupt()
other = threading.Thread(target=interrupt)
other.start()
try:
    db.execute("SELECT loop(1)").fetchone()
except sqlite3.OperationalError as error:
    print(error)
done.set()
other.join()
print(db.execute("SELECT loop(0)").fetchone()[0])
db.close()
)script";

TEST_F(SqliteProgramTest, PythonLoadsIt) {
  const std::string script = folder_.write("t.py", kProgram);
  const ProcessResult result = run_process({"/usr/bin/python3", script, kExtension}, options());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_HAS(result.out, "42\ntwice: argument 1 (a) is TEXT, not s32 (INTEGER)\nloop: ");
  EXPECT_TRUE(result.out.ends_with("\n7\n")) << result.out;
}

}  // namespace
}  // namespace spore::test
