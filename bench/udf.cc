// What does a call of a typed function cost?
//
//   numbers_statement   (s32, s32) -> s32, one instance for all calls, core values     typed   Function<...>
//   numbers_clean       the same, each call in a clean instance                        clean
//   CleanFunction<...> values_*            the same by WitArgs and a WitValue string64_*          string ->
//   string of 64 bytes document5_*         a rule that asks for five fields of a document, in Rust batch_N N
//   rows of the same numbers, in one crossing (row_of_batch_N_ns is a row of it) rows_1000           1,000
//   rows where the guest takes no batches: a clean instance for each memo_hit            a string of 64 bytes
//   whose result is kept

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "bench/harness.h"
#include "spore/base/fd.h"
#include "spore/host/canonical.h"
#include "spore/runtime/runtime.h"
#include "spore/udf/maker.h"
#include "tests/guest_file.h"

namespace spore {
namespace {

using bench::fail;
using host::WitArg;
using host::WitValue;
using udf::Isolation;
using udf::Session;

constexpr std::string_view kAdd = "func(a: s32, b: s32) -> s32";
const std::string kText = "the quick brown fox jumps over the lazy dog, and then once more!";

class Functions {
 public:
  Functions()
      : runtime_(runtime::Runtime::create({.tier = engine::Tier::kOptimised}).value()),
        maker_(*runtime_, {}) {}

  runtime::Runtime& runtime() { return *runtime_; }
  std::shared_ptr<const udf::Function> make(std::string_view name, std::string_view signature,
                                            std::span<const uint8_t> source, bool memo = false) {
    udf::Definition definition{
        .name = std::string(name), .signature = std::string(signature), .pure = memo, .memo = memo};
    // Instances of its own: pages that others wrote are part of what a reset looks at for a while.
    definition.domain = std::to_string(made_++);
    auto made = maker_.make(definition, source);
    if (!made.ok()) fail(made.status().message());
    return std::move(made).value();
  }

 private:
  std::unique_ptr<runtime::Runtime> runtime_;
  udf::Maker maker_;
  int made_ = 0;
};

bench::Subject numbers(std::string name, const udf::Function& add, Isolation isolation) {
  const std::shared_ptr<Session> session(add.begin({}, isolation));
  return {std::move(name), [session](uint64_t n) {
            for (uint64_t i = 0; i < n; i++) {
              std::array<engine::RawValue, 2> values{engine::RawValue{.i64 = static_cast<uint32_t>(i)},
                                                     engine::RawValue{.i64 = 1}};
              if (!session->call_numbers(values.data(), 2) || values[0].i32 != static_cast<int32_t>(i) + 1) {
                fail("numbers");
              }
            }
          }};
}

bench::Subject values(std::string name, const udf::Function& add, Isolation isolation) {
  const std::shared_ptr<Session> session(add.begin({}, isolation));
  return {std::move(name), [session, result = WitValue()](uint64_t n) mutable {
            for (uint64_t i = 0; i < n; i++) {
              const std::array<WitArg, 2> args{WitArg::number(i % 1000), WitArg::number(1)};
              if (!session->call(args, result).ok() || result.bits != i % 1000 + 1) fail("values");
            }
          }};
}

bench::Subject text(std::string name, const udf::Function& same, Isolation isolation) {
  const std::shared_ptr<Session> session(same.begin({}, isolation));
  return {std::move(name), [session, result = WitValue()](uint64_t n) mutable {
            for (uint64_t i = 0; i < n; i++) {
              const WitArg arg = WitArg::string(kText);
              if (!session->call({&arg, 1}, result).ok() || result.text != kText) fail("text");
            }
          }};
}

bench::Subject document(std::string name, const udf::Function& price, Isolation isolation) {
  static constexpr std::string_view kJson =
      R"({"price":{"amount":20.0,"currency":"EUR"},"category":"book","stock":12,"member":true,"tags":["new","blue"]})";
  constexpr double kPrice = 20.0 * 0.9 * 0.95;
  constexpr double kNear = 1e-9;
  const std::shared_ptr<Session> session(price.begin({}, isolation));
  return {std::move(name), [session, result = WitValue()](uint64_t n) mutable {
            const udf::JsonDocument row(kJson);
            for (uint64_t i = 0; i < n; i++) {
              const WitArg arg = WitArg::number(0);
              const Status status = session->call({&arg, 1}, result, &row);
              if (!status.ok()) fail(status.message());
              if (std::abs(result.as_f64() - kPrice) > kNear) fail("document");
            }
          }};
}

// Batches of so many rows.
bench::Subject batch(std::string name, const udf::Function& add, size_t rows) {
  const std::shared_ptr<Session> session(add.begin({}));
  std::vector<WitArg> args;
  for (size_t i = 1; i <= rows; i++) {
    args.push_back(WitArg::number(i));
    args.push_back(WitArg::number(1));
  }
  return {std::move(name), [session, args, rows](uint64_t n) {
            std::vector<Result<WitValue>> results;
            for (uint64_t i = 0; i < n; i++) {
              session->call_batch({args, rows}, results);
              if (results.size() != rows || !results.back().ok() || results.back().value().bits != rows + 1) {
                fail("batch");
              }
            }
          }};
}

std::vector<uint8_t> rust_functions() {
  constexpr size_t kBytesMax = size_t{64} << 20;
  auto bytes = read_file(SPORE_SOURCE_DIR "/build/guests/udf/rust.wasm", kBytesMax);
  if (!bytes.ok()) fail("build/guests/udf/rust.wasm is not there: tools/guests.sh builds it");
  return std::move(bytes).value();
}

int run(int argc, char** argv) {
  bench::Report report("udf", argc, argv);
  Functions functions;
  const std::vector<uint8_t> guest = test::guest("udf.wat");
  const auto statement = functions.make("add", kAdd, guest);
  const auto add = functions.make("add", kAdd, guest);
  const auto same = functions.make("same", "func(a: string) -> string", guest);
  const auto kept = functions.make("same", "func(a: string) -> string", guest, true);
  const auto price = functions.make("price", "func(base: f64) -> f64", rust_functions());
  // The same function where the guest exports no batches of it.
  const auto alone = functions.make("add", kAdd, test::wasm(R"((module
      (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))))"));

  const auto module = functions.runtime()
                          .load_module("beside", guest,
                                       [] {
                                         runtime::ModuleOptions options;
                                         udf::define_document(options.host);
                                         return options;
                                       }())
                          .value();
  auto instance = functions.runtime().instantiate(*module).value();
  auto typed = instance.function<int32_t(int32_t, int32_t)>("add").value();
  auto clean = functions.runtime().clean_function<int32_t(int32_t, int32_t)>(*module, "add").value();
  const auto beside = [](std::string name, auto function) {
    return bench::Subject{std::move(name), [function](uint64_t n) {
                            for (uint64_t i = 0; i < n; i++) {
                              const auto sum = function(static_cast<int32_t>(i), 1);
                              if (!sum.ok() || sum.value() != static_cast<int32_t>(i) + 1) fail("beside");
                            }
                          }};
  };

  std::vector<bench::Subject> subjects{
      beside("typed", typed),
      beside("clean", clean),
      numbers("numbers_statement", *statement, Isolation::kStatement),
      numbers("numbers_clean", *add, Isolation::kCall),
      values("values_statement", *statement, Isolation::kStatement),
      values("values_clean", *add, Isolation::kCall),
      text("string64_statement", *same, Isolation::kStatement),
      text("string64_clean", *same, Isolation::kCall),
      text("memo_hit", *kept, Isolation::kCall),
      document("document5_statement", *price, Isolation::kStatement),
      document("document5_clean", *price, Isolation::kCall),
      batch("rows_1000", *alone, 1000),
  };
  constexpr size_t kBatchMax = 10'000;
  constexpr size_t kTen = 10;
  for (size_t rows = 1; rows <= kBatchMax; rows *= kTen) {
    subjects.push_back(batch(fmt::format("batch_{}", rows), *functions.make("add", kAdd, guest), rows));
  }
  constexpr uint64_t kRounds = 60;
  constexpr double kSliceNs = 2e6;
  report.add(bench::interleave_slices(subjects, kRounds, kSliceNs));
  report.ratio("statement_vs_typed", "numbers_statement", "typed", "lower");
  report.ratio("clean_vs_clean_function", "numbers_clean", "clean", "lower");
  report.ratio("memo_vs_call", "memo_hit", "string64_clean", "lower");
  for (size_t rows = 1; rows <= kBatchMax; rows *= kTen) {
    report.top(fmt::format("row_of_batch_{}_ns", rows),
               report.p50(fmt::format("batch_{}", rows)) / static_cast<double>(rows));
  }
  report.top("row_without_batches_ns", report.p50("rows_1000") / 1000);
  report.top("numeric_call_ns", report.p50("numbers_statement"));
  report.top("numeric_clean_call_ns", report.p50("numbers_clean"));
  return report.print();
}

}  // namespace
}  // namespace spore

int main(int argc, char** argv) { return spore::run(argc, argv); }
