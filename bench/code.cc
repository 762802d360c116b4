// What does code cost: compiled, found in the cache, and changed under running instances?
//
//   large      CPython for WASI, 26 MB of wasm from its package as the tests run it: `--version`, from the
//              start of the process to its answer, its code in the cache
//   small      a library in Rust, 62 KB: `add 1 2`, likewise
//   empty      /bin/true: what any process costs
//   handover   an instance with 64 MB of memory, all of it written, goes to the other tier and back
//   promotion  a library in Go, 2.3 MB, called without a break while it is compiled and goes over, and beside
//              it the same calls where it stays as it is
//
// The processes are those of the command line, built beside this; they keep their code in a folder of their
// own.

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>

#include "bench/climbing.h"
#include "bench/harness.h"
#include "spore/base/fd.h"
#include "spore/cell/blueprint.h"
#include "spore/code/code_cache.h"
#include "spore/engine/ticker.h"
#include "spore/spore.h"
#include "tests/guest_file.h"
#include "tests/process.h"

namespace spore {
namespace {

using bench::built_guest;
using bench::fail;
using bench::ns_of;
using Clock = std::chrono::steady_clock;

constexpr double kNsInMs = 1e6;
constexpr double kNsInUs = 1e3;

// --- processes -----------------------------------------------------------------------------------------

class Processes {
 public:
  // Nanoseconds until its answer was read.  Its end is awaited, and not measured.
  double run(const std::vector<std::string>& words, std::string_view answer) const {
    const auto begin = Clock::now();
    test::Process process(words, {.environment = {{"SPORE_HOME", home_.path().native()}}});
    static_cast<void>(process.wait_for_output_text(answer.empty() ? "nothing" : answer));
    const double ns = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
    const test::ProcessResult result = process.wait();
    if (result.exit_code != 0 || !result.out.starts_with(answer)) {
      fail(fmt::format("{}: exit code {}, '{}' {}", words.front(), result.exit_code, result.out, result.err));
    }
    return ns;
  }
  double spore(const std::string& guest, const std::vector<std::string>& arguments,
               std::string_view answer) const {
    std::vector<std::string> words{SPORE_CLI, "run", SPORE_SOURCE_DIR "/build/guests/" + guest};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return run(words, answer);
  }

 private:
  test::TemporaryFolder home_;
};

void measure_processes(bench::Report& report) {
  const Processes processes;
  const auto large = [&] {
    return processes.spore("python.wasm", {"--tier", "optimised", "--", "--version"}, "Python 3.");
  };
  const auto small = [&] {
    return processes.spore("rust_reactor.wasm", {"--tier", "optimised", "--invoke", "add", "1", "2"}, "3\n");
  };
  large();  // compiles; the cache has it from then on
  small();
  std::vector<double> large_ns;
  std::vector<double> small_ns;
  std::vector<double> empty_ns;
  for (int i = 0; i < 30; i++) {  // in turn: what disturbs one disturbs all
    large_ns.push_back(large());
    small_ns.push_back(small());
    empty_ns.push_back(processes.run({"/bin/true"}, ""));
  }
  report.add({bench::figure_of("cached_start", large_ns), bench::figure_of("cached_start_small", small_ns),
              bench::figure_of("empty_process", empty_ns)});
  report.top("cached_start_ms", report.p50("cached_start") / kNsInMs);
  report.top("cached_start_small_ms", report.p50("cached_start_small") / kNsInMs);
  report.top("cached_start_small_over_empty_ms",
             (report.p50("cached_start_small") - report.p50("empty_process")) / kNsInMs);
}

// --- compiling and loading -----------------------------------------------------------------------------

struct Engines {
  Engines() {
    const auto ticker = std::make_shared<engine::Ticker>();
    for (const Tier tier : {Tier::kBaseline, Tier::kOptimised}) {
      all.push_back(engine::Engine::create({.tier = tier}, ticker).value());
    }
  }
  std::vector<std::shared_ptr<const engine::Engine>> all;
};

void measure_compiles(bench::Report& report) {
  const std::vector<uint8_t> large = built_guest("python.wasm");
  const std::vector<uint8_t> small = built_guest("rust_reactor.wasm");
  const auto compile = [](std::span<const uint8_t> wasm, Tier tier, const std::string& home) {
    RuntimeOptions options{.tier = tier};
    if (!home.empty()) options.code_cache.directory = home;
    const std::unique_ptr<Runtime> runtime = Runtime::create(std::move(options)).value();
    return ns_of([&] {
      const auto loaded = runtime->load_module("m", wasm);
      if (!loaded.ok()) fail(loaded.status().message());
    });
  };
  const double large_optimised = compile(large, Tier::kOptimised, "");
  report.top("compile_large_ms", large_optimised / kNsInMs);
  report.top("compile_large_baseline_ms", compile(large, Tier::kBaseline, "") / kNsInMs);
  report.ratio({.name = "cached_start_vs_compile",
                .numerator = "cached_start",
                .denominator = "compile_large",
                .value = report.p50("cached_start") / large_optimised,
                .better = "lower"});
  const test::TemporaryFolder home;
  const std::string code = home.path() / "code";
  compile(small, Tier::kOptimised, code);
  std::vector<double> compiled;
  std::vector<double> compiled_baseline;
  std::vector<double> loaded;
  for (int i = 0; i < 30; i++) {
    compiled.push_back(compile(small, Tier::kOptimised, ""));
    compiled_baseline.push_back(compile(small, Tier::kBaseline, ""));
    loaded.push_back(compile(small, Tier::kOptimised, code));
  }
  report.add({bench::figure_of("compile_small", compiled),
              bench::figure_of("compile_small_baseline", compiled_baseline),
              bench::figure_of("load_small", loaded)});
  // Until the first answer may begin, as modules are loaded if no tier is asked for; and the other tier.
  report.top("compile_ms", report.p50("compile_small_baseline") / kNsInMs);
  report.top("compile_optimised_ms", report.p50("compile_small") / kNsInMs);
  report.top("load_ms", report.p50("load_small") / kNsInMs);
}

// --- going over ----------------------------------------------------------------------------------------

constexpr const char* kBig = R"((module
  (memory (export "memory") 1024)
  (global $count (mut i32) (i32.const 0))
  (func (export "fill") (memory.fill (i32.const 0) (i32.const 1) (i32.const 67108864)))
  (func (export "next") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (global.get $count))))";

void measure_hand_overs(bench::Report& report) {
  const Engines engines;
  const auto prepared =
      std::make_shared<const wasm::PreparedModule>(wasm::prepare(test::wasm(kBig), 1 << 20).value());
  std::vector<std::shared_ptr<const engine::Binding>> bindings;
  for (const auto& engine : engines.all) {
    bindings.push_back(engine::Binding::create(engine->compile(prepared->wasm).value(),
                                               std::make_shared<const engine::HostFunctions>())
                           .value());
  }
  const cell::Blueprint blueprint{.name = "big",
                                  .code = std::make_shared<engine::LiveBinding>(bindings[0]),
                                  .prepared = prepared,
                                  .limits = {},
                                  .wasi = nullptr};
  const Instance instance = cell::instantiate(blueprint, {}).value();
  if (!instance.function<void()>("fill").value()().ok()) fail("fill");
  const auto next = instance.function<int32_t()>("next").value();
  std::vector<double> over;
  std::vector<double> plain;
  for (int i = 1; i <= 1000; i++) {
    blueprint.code->improve(bindings[i % 2]);
    const double ns = ns_of([&] {
      if (next().value() != 2 * i - 1) fail("a call was lost");
    });
    plain.push_back(ns_of([&] {
      if (next().value() != 2 * i) fail("a call was lost");
    }));
    over.push_back(ns);
  }
  if (blueprint.code->hand_overs().done != 1000) fail("an instance did not go over");
  report.add({bench::figure_of("handover_and_call", over), bench::figure_of("call", plain)});
  report.top("handover_us", (report.p50("handover_and_call") - report.p50("call")) / kNsInUs);
  report.top("handover_p99_us", report.figure("handover_and_call").p99_ns / kNsInUs);
}

// --- while it is compiled ------------------------------------------------------------------------------

void measure_promotion(bench::Report& report) {
  constexpr std::chrono::seconds kLong{5};
  const bench::Calls stays = bench::call_while_it_climbs(Tier::kBaseline, kLong);
  const bench::Calls climbs = bench::call_while_it_climbs(std::nullopt, kLong);
  bench::report_promotion(report, stays, climbs);
  const bench::Calls::Reached& optimised_at = climbs.reached.back();
  report.top("promoted_after_ms", optimised_at.after_ms);
  // By the median call of each code.
  const auto calls_per_s = [](std::vector<double> ns) {
    constexpr double kNsInSecond = 1e9;
    std::ranges::sort(ns);
    return kNsInSecond / ns[ns.size() / 2];
  };
  const double baseline = calls_per_s(stays.ns);
  const double optimised =
      calls_per_s({climbs.ns.begin() + static_cast<ptrdiff_t>(optimised_at.calls), climbs.ns.end()});
  report.top("calls_per_s_baseline", baseline);
  report.top("calls_per_s_optimised", optimised);
  report.ratio({.name = "optimised_vs_baseline",
                .numerator = "calls_per_s_optimised",
                .denominator = "calls_per_s_baseline",
                .value = optimised / baseline,
                .better = "higher"});
}

int run(int argc, char** argv) {
  bench::Report report("code", argc, argv);
  measure_processes(report);
  measure_compiles(report);
  measure_hand_overs(report);
  measure_promotion(report);
  return report.print();
}

}  // namespace
}  // namespace spore

int main(int argc, char** argv) { return spore::run(argc, argv); }
