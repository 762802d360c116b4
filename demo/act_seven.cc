// Act 7: functions in Rust and in Python, inside the shell of SQLite.

#include <chrono>
#include <filesystem>
#include <system_error>

#include "bench/harness.h"
#include "demo/acts.h"
#include "spore/base/elapsed.h"
#include "tests/process.h"

namespace spore::demo {

using bench::fail;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::string_view kHome = SPORE_SOURCE_DIR "/build/handlers";
constexpr std::string_view kRust = SPORE_SOURCE_DIR "/build/guests/udf/rust.wasm";
constexpr std::string_view kPython = SPORE_SOURCE_DIR "/guests/python/udf.py";
constexpr int kRows = 100'000;

// What the shell says to some SQL in a database of its own.
std::string sqlite(const test::TemporaryFolder& folder, std::string_view sql) {
  const test::ProcessResult result =
      test::run_process({"sqlite3", (folder.path() / "shop.db").native(), "-cmd",
                         ".load " SPORE_SQLITE_EXTENSION, std::string(sql)},
                        {.environment = {{"SPORE_HOME", std::string(kHome)}}});
  if (result.exit_code != 0 || !result.err.empty()) fail(result.out + result.err);
  std::string out = result.out;
  while (out.ends_with('\n')) out.pop_back();
  return out;
}

std::string rows_of(std::string_view function) {
  return fmt::format(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
      "SELECT count({}('iPhone ' || i, 'iPhone 14')) FROM n",
      kRows, function);
}

// All rows, as the shell's own timer tells, when they were done once before.
double spore_ns(const test::TemporaryFolder& folder) {
  const std::string file = folder.write(
      "rows.sql",
      fmt::format("SELECT spore_load_functions();\n{0};\n.timer on\n{0};\n", rows_of("similarity")));
  const std::string out = sqlite(folder, ".read " + file);
  constexpr std::string_view kReal = "real ";
  const size_t at = out.rfind(kReal);
  if (at == std::string::npos) fail("no time: " + out);
  constexpr double kNsInS = 1e9;
  return std::stod(out.substr(at + kReal.size())) * kNsInS;
}

// The same rows by the same file in a Python of its own, where nothing keeps what a call does from the next.
double python_ns(const test::TemporaryFolder& folder) {
  const std::string script = folder.write("beside.py", R"(import sqlite3, sys, time, types
sys.modules["spore"] = types.SimpleNamespace(document=None)
names = {}
exec(open(sys.argv[1]).read(), names)
connection = sqlite3.connect(":memory:")
connection.create_function("similarity", 2, names["similarity"])
begin = time.perf_counter()
connection.execute(sys.argv[2]).fetchall()
print(time.perf_counter() - begin)
)");
  const test::ProcessResult result =
      test::run_process({"/usr/bin/python3", script, std::string(kPython), rows_of("similarity")});
  if (result.exit_code != 0) fail(result.err);
  constexpr double kNsInS = 1e9;
  return std::stod(result.out) * kNsInS;
}

}  // namespace

void act_seven(std::vector<Row>& table) {
  say("Act 7: how alike are two names? A function in Rust and one in Python, inside sqlite3.");
  std::error_code none;  // there already, in most cases
  std::filesystem::create_directory_symlink("../guests", std::filesystem::path(kHome) / "runtimes", none);
  const test::TemporaryFolder folder;
  const std::string create = fmt::format("SELECT spore_create_function('similarity', '{}', NULL)", kRust);
  if (sqlite(folder, create) != "similarity") fail("creating the function in Rust");
  const auto begin = Clock::now();
  const std::string create_python = fmt::format(
      R"(SELECT spore_create_function('alike', '{}', 'func(a: string, b: string) -> f64', 'python', '{{"export":"similarity"}}'))",
      kPython);
  if (sqlite(folder, create_python) != "alike") fail("creating the function in Python");
  const auto create_ns = static_cast<double>(ns_since(begin));
  const std::string found =
      sqlite(folder,
             "SELECT spore_load_functions(); SELECT similarity('iPhone 15', 'iPhone 14'); "
             "SELECT alike('iPhone 15', 'iPhone 14')");
  if (found != "2\n0.875\n0.875") fail("similarity: " + found);
  say("  sqlite> SELECT similarity('iPhone 15', 'iPhone 14');   -- Rust, 42 KB of wasm");
  say("  0.875");
  say(fmt::format("  sqlite> SELECT alike('iPhone 15', 'iPhone 14');        -- Python, registered in {}",
                  duration(create_ns)));
  say("  0.875");

  const double row_ns = spore_ns(folder) / kRows;
  const double beside_ns = python_ns(folder) / kRows;
  say(fmt::format(
      "  a row takes {} in Rust, each call in a clean instance, and {} by Python's own create_function",
      duration(row_ns), duration(beside_ns)));
  table.push_back({"a row of similarity in sqlite3", duration(row_ns), duration(beside_ns),
                   fmt::format("{:.1f}x", beside_ns / row_ns), "./dev bench sqlite"});
}

}  // namespace spore::demo
