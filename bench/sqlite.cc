// What does a function cost inside SQLite?  SELECT sum(f(x, y)) FROM t, f being x * 1.5 + y, over rows in
// memory:
//
//   native             in C, by sqlite3_create_function
//   spore_clean        in wasm, each call in a clean instance
//   spore_statement    the same, one instance for a statement
//   spore_map          the same, a thousand rows to a crossing: spore_map('f', 'SELECT x, y FROM t')
//   python             in Python, by Connection.create_function of its own module
//   spore_python       in Python inside of Spore, each call in a clean interpreter; fewer rows
//   spore_python_map   the same by spore_map
//   plan               the same query without a function: what all of them have to bear
//   distance_*         of places on the earth, by sines, cosines and a root: C here, Rust in the guest
//   text_*             SELECT sum(length(s(text))), s giving back its argument of about 40 bytes
//
// A figure is nanoseconds per row of one query.  Take the ratios.

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness.h"
#include "spore/base/fd.h"
#include "tests/guest_file.h"

namespace spore {
namespace {

using bench::fail;

// Modules of their own: what one function writes in its memory is cleared after calls of its neighbours, too.
constexpr std::string_view kNumbers = R"((module
  (memory (export "memory") 4)
  (func (export "f") (param f64 f64) (result f64)
    (f64.add (f64.mul (local.get 0) (f64.const 1.5)) (local.get 1)))))";

// f-batch: (list<tuple<f64, f64>>) -> list<f64>, in place.
constexpr std::string_view kBatches = R"((module
  (memory (export "memory") 4)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "f") (param f64 f64) (result f64)
    (f64.add (f64.mul (local.get 0) (f64.const 1.5)) (local.get 1)))
  (func (export "f-batch") (param $rows i32) (param $count i32) (result i32)
    (local $i i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
        (f64.store (i32.add (local.get $rows) (i32.shl (local.get $i) (i32.const 3)))
          (f64.add
            (f64.mul (f64.load (i32.add (local.get $rows) (i32.shl (local.get $i) (i32.const 4)))) (f64.const 1.5))
            (f64.load offset=8 (i32.add (local.get $rows) (i32.shl (local.get $i) (i32.const 4))))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (i32.store (i32.const 1024) (local.get $rows))
    (i32.store (i32.const 1028) (local.get $count))
    (i32.const 1024))))";

// s: string -> string, the same.
constexpr std::string_view kTexts = R"((module
  (memory (export "memory") 4)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1088))
  (func (export "s") (param i32 i32) (result i32)
    (i32.store (i32.const 1024) (local.get 0))
    (i32.store (i32.const 1028) (local.get 1))
    (i32.const 1024))))";

constexpr const char* kRows =
    "CREATE TABLE t AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT %d) "
    "SELECT i * 0.5 AS x, i * 0.25 AS y, 'the row of number ' || i || ', and some more' AS text FROM n";

// Prints the seconds of some queries, one a line, of all rows and of each function.
constexpr const char* kPython = R"script(
import math, sqlite3, sys, time
rows, times = int(sys.argv[1]), int(sys.argv[2])
db = sqlite3.connect(':memory:')
db.execute(sys.argv[3])
db.create_function('f', 2, lambda x, y: x * 1.5 + y, deterministic=True)
def distance(lat1, lon1, lat2, lon2):
    x = math.sin(math.radians(lat2 - lat1) / 2)
    y = math.sin(math.radians(lon2 - lon1) / 2)
    h = x * x + math.cos(math.radians(lat1)) * math.cos(math.radians(lat2)) * y * y
    return 2 * 6371.0088 * math.asin(math.sqrt(min(h, 1.0)))
db.create_function('distance', 4, distance, deterministic=True)
db.create_function('s', 1, lambda text: text, deterministic=True)
for query in ['SELECT sum(f(x, y)) FROM t', 'SELECT sum(distance(x / 10000, y / 10000, 52.5, 13.4)) FROM t',
              'SELECT sum(length(s(text))) FROM t']:
    for i in range(times):
        begin = time.perf_counter()
        db.execute(query).fetchone()
        print(time.perf_counter() - begin)
)script";

void on_f(sqlite3_context* context, int /*count*/, sqlite3_value** values) {
  if (sqlite3_value_type(values[0]) == SQLITE_NULL || sqlite3_value_type(values[1]) == SQLITE_NULL) return;
  constexpr double kFactor = 1.5;
  sqlite3_result_double(context, sqlite3_value_double(values[0]) * kFactor + sqlite3_value_double(values[1]));
}

void on_distance(sqlite3_context* context, int count, sqlite3_value** values) {
  std::array<double, 4> at{};
  for (int i = 0; i < count; i++) {
    if (sqlite3_value_type(values[i]) == SQLITE_NULL) return;
    at[static_cast<size_t>(i)] = sqlite3_value_double(values[i]);
  }
  constexpr double kRadius = 6371.0088;
  constexpr double kRadians = M_PI / 180;
  const double x = std::sin((at[2] - at[0]) * kRadians / 2);
  const double y = std::sin((at[3] - at[1]) * kRadians / 2);
  const double h = x * x + std::cos(at[0] * kRadians) * std::cos(at[2] * kRadians) * y * y;
  sqlite3_result_double(context, 2 * kRadius * std::asin(std::sqrt(std::min(h, 1.0))));
}

void on_s(sqlite3_context* context, int /*count*/, sqlite3_value** values) {
  sqlite3_result_text(context, reinterpret_cast<const char*>(sqlite3_value_text(values[0])),
                      sqlite3_value_bytes(values[0]), SQLITE_TRANSIENT);
}

class Database {
 public:
  Database() {
    if (sqlite3_open(":memory:", &db_) != SQLITE_OK) fail("sqlite3_open");
    sqlite3_enable_load_extension(db_, 1);
    char* error = nullptr;
    if (sqlite3_load_extension(db_, SPORE_SQLITE_EXTENSION, nullptr, &error) != SQLITE_OK) fail(error);
    // With the flags of those that it is compared with.
    constexpr int kFlags = SQLITE_UTF8 | SQLITE_DIRECTONLY;
    sqlite3_create_function(db_, "native", 2, kFlags, nullptr, &on_f, nullptr, nullptr);
    sqlite3_create_function(db_, "distance_native", 4, kFlags, nullptr, &on_distance, nullptr, nullptr);
    sqlite3_create_function(db_, "text_native", 1, kFlags, nullptr, &on_s, nullptr, nullptr);
  }
  ~Database() { sqlite3_close(db_); }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // The number in its first row; `values` are bound.
  double ask(const std::string& sql, const std::vector<std::string>& values = {}) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) fail(sqlite3_errmsg(db_));
    for (size_t i = 0; i < values.size(); i++) {
      const auto size = static_cast<sqlite3_uint64>(values[i].size());
      const int place = static_cast<int>(i) + 1;
      if (values[i].starts_with(std::string_view("\0asm", 4))) {
        sqlite3_bind_blob64(statement, place, values[i].data(), size, SQLITE_STATIC);
      } else {
        sqlite3_bind_text64(statement, place, values[i].data(), size, SQLITE_STATIC, SQLITE_UTF8);
      }
    }
    const int code = sqlite3_step(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE) fail(sqlite3_errmsg(db_));
    const double value = code == SQLITE_ROW ? sqlite3_column_double(statement, 0) : 0;
    sqlite3_finalize(statement);
    return value;
  }
  void make(const std::string& name, const std::string& source, const std::string& signature,
            const std::string& language, const std::string& options) {
    ask("SELECT spore_create_function(?, ?, ?, ?, ?)", {name, source, signature, language, options});
  }

 private:
  sqlite3* db_ = nullptr;
};

struct Query {
  std::string name;
  std::string sql;
  uint64_t rows;
  double answer;  // by which it must be near
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

constexpr double kNsOfSecond = 1e9;

// The seconds that Python took, of f, distance and s.
std::array<std::vector<double>, 3> run_python(uint64_t rows, const std::string& create) {
  constexpr int kTimes = 3;
  const std::string command =
      fmt::format("/usr/bin/python3 -c \"$SPORE_BENCH_PYTHON\" {} {} \"{}\"", rows, kTimes, create);
  ::setenv("SPORE_BENCH_PYTHON", kPython, 1);
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) fail("no python3");
  std::array<std::vector<double>, 3> seconds;
  for (int i = 0; i < 3 * kTimes; i++) {
    double value = 0;
    if (std::fscanf(pipe, "%lf", &value) != 1) fail("what python3 printed");
    seconds[static_cast<size_t>(i / kTimes)].push_back(value);
  }
  ::pclose(pipe);
  return seconds;
}

int run(int argc, char** argv) {
  bench::Report report("sqlite", argc, argv);
  const bool quick = std::getenv("SPORE_BENCH_QUICK") != nullptr;
  const uint64_t rows = quick ? 20'000 : 1'000'000;
  const uint64_t few = quick ? 100 : 2'000;  // for Python inside of Spore
  const int rounds = quick ? 2 : 9;

  // What is measured is what code that is called a million times comes to.
  ::setenv("SPORE_TIER", "optimised", 0);
  ::setenv("SPORE_HOME", SPORE_SOURCE_DIR "/build/handlers", 0);
  Database db;
  std::array<char, 300> create{};
  std::snprintf(create.data(), create.size(), kRows, static_cast<int>(rows));
  db.ask(create.data());
  const auto module = [](std::string_view text) {
    const std::vector<uint8_t> wasm = test::wasm(text);
    return std::string(wasm.begin(), wasm.end());
  };
  const std::string numbers = "func(x: f64, y: f64) -> f64";
  const std::string text = "func(text: string) -> string";
  db.make("clean", module(kNumbers), numbers, "wasm", R"({"export":"f"})");
  db.make("statement", module(kNumbers), numbers, "wasm", R"({"export":"f","isolation":"statement"})");
  db.make("batches", module(kBatches), numbers, "wasm", R"({"export":"f"})");
  db.make("text_clean", module(kTexts), text, "wasm", R"({"export":"s"})");
  db.make("text_statement", module(kTexts), text, "wasm", R"({"export":"s","isolation":"statement"})");
  const bool python =
      read_file(SPORE_SOURCE_DIR "/build/handlers/runtimes/python.wasm", size_t{1} << 30).ok();
  if (python) db.make("in_python", "def in_python(x, y):\n    return x * 1.5 + y\n", numbers, "python", "{}");

  const auto sum = [&](const std::string& name, const std::string& call, uint64_t of) {
    const std::string limit = of == rows ? "t" : fmt::format("(SELECT * FROM t LIMIT {})", of);
    const double n = static_cast<double>(of);
    return Query{name, fmt::format("SELECT sum({}) FROM {}", call, limit), of, n * (n - 1) / 2};
  };
  std::vector<Query> queries{
      sum("plan", "x + y + y", rows),
      sum("native", "native(x, y)", rows),
      sum("spore_clean", "clean(x, y)", rows),
      sum("spore_statement", "statement(x, y)", rows),
      {"spore_map", "SELECT sum(result) FROM spore_map('batches', 'SELECT x, y FROM t')", rows,
       sum("", "", rows).answer},
  };
  const auto rust = read_file(SPORE_SOURCE_DIR "/build/guests/udf/rust.wasm", size_t{64} << 20);
  if (!rust.ok()) fail("build/guests/udf/rust.wasm is not there: tools/guests.sh builds it");
  const std::string functions(rust.value().begin(), rust.value().end());
  db.make("distance_clean", functions, "", "wasm", R"({"export":"distance"})");
  db.make("distance_statement", functions, "", "wasm", R"({"export":"distance","isolation":"statement"})");
  const std::string place = "(x / 10000, y / 10000, 52.5, 13.4)) FROM t";
  const double far = db.ask("SELECT sum(distance_native" + place);
  for (const char* name : {"distance_native", "distance_clean", "distance_statement"}) {
    queries.push_back({name, fmt::format("SELECT sum({}{}", name, place), rows, far});
  }
  const double bytes = db.ask("SELECT sum(length(text)) FROM t");
  for (const char* name : {"text_native", "text_clean", "text_statement"}) {
    queries.push_back({name, fmt::format("SELECT sum(length({}(text))) FROM t", name), rows, bytes});
  }
  if (python) {
    queries.push_back(sum("spore_python", "in_python(x, y)", few));
    queries.push_back(
        {"spore_python_map",
         fmt::format("SELECT sum(result) FROM spore_map('in_python', 'SELECT x, y FROM t LIMIT {}')", few),
         few, sum("", "", few).answer});
  }

  std::vector<std::vector<double>> samples(queries.size());
  std::array<std::vector<double>, 3> in_python;
  for (int round = -1; round < rounds; round++) {  // the first is not measured
    for (size_t i = 0; i < queries.size(); i++) {
      const auto begin = std::chrono::steady_clock::now();
      const double answer = db.ask(queries[i].sql);
      const double ns = seconds_since(begin) * kNsOfSecond / static_cast<double>(queries[i].rows);
      if (std::abs(answer - queries[i].answer) > 1e-6 * queries[i].answer)
        fail(queries[i].name + ": a wrong answer");
      if (round >= 0) samples[i].push_back(ns);
    }
    constexpr int kPythonEvery = 4;
    if (round < 0 || round % kPythonEvery != 0) continue;
    const auto seconds = run_python(rows, create.data());
    for (size_t i = 0; i < seconds.size(); i++) {
      for (const double each : seconds[i])
        in_python[i].push_back(each * kNsOfSecond / static_cast<double>(rows));
    }
  }

  std::vector<bench::Figure> figures;
  for (size_t i = 0; i < queries.size(); i++)
    figures.push_back(bench::figure_of(queries[i].name, samples[i]));
  figures.push_back(bench::figure_of("python", in_python[0]));
  figures.push_back(bench::figure_of("distance_python", in_python[1]));
  figures.push_back(bench::figure_of("text_python", in_python[2]));
  report.add(figures);
  report.ratio("clean_vs_native", "native", "spore_clean", "higher");
  report.ratio("statement_vs_native", "native", "spore_statement", "higher");
  report.ratio("map_vs_native", "native", "spore_map", "higher");
  report.ratio("vs_python_udf", "python", "spore_clean", "higher");
  report.ratio("statement_vs_python_udf", "python", "spore_statement", "higher");
  report.ratio("distance_clean_vs_native", "distance_native", "distance_clean", "higher");
  report.ratio("distance_statement_vs_native", "distance_native", "distance_statement", "higher");
  report.ratio("distance_vs_python_udf", "distance_python", "distance_clean", "higher");
  report.ratio("text_clean_vs_native", "text_native", "text_clean", "higher");
  report.ratio("text_statement_vs_native", "text_native", "text_statement", "higher");
  report.ratio("text_vs_python_udf", "text_python", "text_clean", "higher");
  if (python) {
    report.ratio("python_in_spore_vs_python_udf", "python", "spore_python", "higher");
    report.ratio("python_map_vs_python_in_spore", "spore_python", "spore_python_map", "higher");
  }
  for (const bench::Figure& figure : figures) {
    report.top(figure.name + "_rows_per_s", kNsOfSecond / figure.p50_ns);
  }
  return report.print();
}

}  // namespace
}  // namespace spore

int main(int argc, char** argv) { return spore::run(argc, argv); }
