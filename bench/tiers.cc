// How soon does a module answer, how quick is it in each tier, and what does climbing cost?
//
//   first_answer       Ruby 3.4 (16 MB) from an image, in a process that is started for it, with an empty
//   code cache:
//                      until its answer was read and compared
//   optimised_compile  the same module compiled by the optimised tier, on all processors
//   real answer        the same Ruby without an image: it initialises, and evaluates 1+1; with the ladder,
//   and with
//                      each compiler alone
//   request_TIER       QuickJS answers a request of JSON (bench/frozen_work.h), in each tier
//   kernels            the peak tier over the optimised one
//   promotion          calls of a Go library while it climbs from the interpreter to optimised code, beside
//   one that
//                      stays
//
// The first run freezes Ruby and optimises the kernels; both are kept in build/handlers.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/climbing.h"
#include "bench/frozen_work.h"
#include "bench/harness.h"
#include "spore/base/fd.h"
#include "spore/engine/ticker.h"
#include "spore/handler/handler.h"
#include "spore/spore.h"
#include "tests/process.h"

namespace spore {
namespace {

namespace fs = std::filesystem;
using bench::built_guest;
using bench::fail;
using bench::ns_of;
using Clock = std::chrono::steady_clock;

constexpr double kNsInMs = 1e6;
constexpr double kNsInSecond = 1e9;
const fs::path kGuests = SPORE_SOURCE_DIR "/build/guests";
const fs::path kHome = SPORE_SOURCE_DIR "/build/handlers";

double ns_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

// --- the first answer ----------------------------------------------------------------------------------

constexpr std::string_view kRubyHandler = R"(def handle(request)
  request.reverse + " " + eval("1+1").to_s
end
)";

std::string freeze_ruby(const test::TemporaryFolder& folder) {
  const std::string handler = folder.write("handler.rb", std::string(kRubyHandler));
  const std::string image = (fs::path(handler).parent_path() / "ruby.spore").native();
  const test::ProcessResult frozen =
      test::run_process({SPORE_CLI, "freeze", "--home", kHome.native(), "--runtime",
                         (kGuests / "ruby.wasm").native(), handler, "-o", image});
  if (frozen.exit_code != 0) fail(fmt::format("freezing Ruby: {}{}", frozen.out, frozen.err));
  return image;
}

// Until the answer is there: that the process then gives its memory back is nobody's concern.
double first_answer(const std::string& image) {
  constexpr std::string_view kAnswer = "desserts 2";
  const std::string command =
      fmt::format("exec '{}' call --home '{}' --code-cache off '{}' --request stressed", SPORE_CLI,
                  kHome.native(), image);
  const auto begin = Clock::now();
  FILE* const process = ::popen(command.c_str(), "r");
  if (process == nullptr) fail("popen");
  std::string answer(kAnswer.size(), ' ');
  const size_t bytes = std::fread(answer.data(), 1, answer.size(), process);
  const double ns = ns_since(begin);
  if (bytes != answer.size() || answer != kAnswer || std::fgetc(process) != EOF) {
    fail(fmt::format("Ruby answered '{}'", answer));
  }
  if (::pclose(process) != 0) fail("Ruby failed");
  return ns;
}

double compile_optimised() {
  const std::vector<uint8_t> wasm = built_guest("ruby.wasm");
  const wasm::PreparedModule prepared = wasm::prepare(wasm, wasm.size()).value();
  const auto engine = engine::Engine::create({.tier = Tier::kOptimised, .parallel_compile = true},
                                             std::make_shared<engine::Ticker>())
                          .value();
  const auto begin = Clock::now();
  const auto code = engine->compile(prepared.wasm);
  if (!code.ok()) fail(code.status().message());
  return ns_since(begin);
}

// In a process of its own: this one.  Ruby, without an image and with no code anywhere.
int answer_once(std::string_view tier) {
  RuntimeOptions options;
  options.tier = engine::tier_of_name(tier);  // "auto": nothing
  options.parallel_compile = true;
  options.limits.deadline_ms = 600'000;
  const std::unique_ptr<Runtime> runtime = Runtime::create(std::move(options)).value();
  const test::TemporaryFolder folder;
  const fs::path file = folder.write("handler.rb", std::string(kRubyHandler));
  const handler::Handler handler = handler::read_handler(file, {}).value();
  const std::vector<uint8_t> wasm = built_guest(handler.language->runtime);
  const auto frozen =
      runtime->freeze_program("ruby", wasm, {.wasi = host::WasiConfig::create(handler.world).value()},
                              {.framing = handler::kFraming, .setup = handler.setup});
  if (!frozen.ok()) fail(frozen.status().message());
  const Result<program::Answer> answer = frozen->program->request("stressed");
  if (!answer.ok() || answer->output != "desserts 2") fail("Ruby answered otherwise");
  fmt::print("{}", answer->output);
  return 0;
}

double real_answer(std::string_view tier) {
  const std::string self = fs::read_symlink("/proc/self/exe").native();
  const auto begin = Clock::now();
  const test::ProcessResult answered = test::run_process({self, "--answer-once", std::string(tier)});
  const double ns = ns_since(begin);
  if (answered.out != "desserts 2") fail(fmt::format("Ruby answered '{}' {}", answered.out, answered.err));
  return ns;
}

void measure_first_answers(bench::Report& report) {
  const test::TemporaryFolder folder;
  const std::string image = freeze_ruby(folder);
  constexpr int kRounds = 3;
  constexpr int kAnswers = 5;
  std::vector<double> first;
  std::vector<double> compile;
  std::vector<double> ladder;
  std::vector<double> baseline;
  for (int round = 0; round < kRounds; round++) {
    for (int i = 0; i < kAnswers; i++) first.push_back(first_answer(image));
    compile.push_back(compile_optimised());
    ladder.push_back(real_answer("auto"));
    baseline.push_back(real_answer("baseline"));
  }
  const double optimised = real_answer("optimised");
  report.add({bench::figure_of("first_answer", first), bench::figure_of("optimised_compile", compile),
              bench::figure_of("real_answer_ladder", ladder),
              bench::figure_of("real_answer_baseline", baseline),
              bench::figure_of("real_answer_optimised", {optimised})});
  report.top("first_answer_ms", report.p50("first_answer") / kNsInMs);
  report.top("optimized_compile_ms", report.p50("optimised_compile") / kNsInMs);
  report.top("first_real_answer_ms", report.p50("real_answer_ladder") / kNsInMs);
  report.top("first_real_answer_baseline_ms", report.p50("real_answer_baseline") / kNsInMs);
  report.top("first_real_answer_optimised_ms", optimised / kNsInMs);
  report.top("first_answer_vs_optimized_compile",
             report.p50("first_answer") / report.p50("optimised_compile"));
  report.ratio("first_answer_vs_optimized_compile", "first_answer", "optimised_compile", "lower");
}

// --- each tier -----------------------------------------------------------------------------------------

RuntimeOptions tier_options(std::optional<Tier> tier) {
  RuntimeOptions options{.tier = tier};
  options.peak = runtime::Peak::kManual;
  options.code_cache = code::code_cache_options(kHome);
  return options;
}

void measure_tiers(bench::Report& report) {
  const test::TemporaryFolder folder;
  const std::string file = folder.write("handler.js", std::string(bench::kJavaScriptHandler));
  struct Way {
    Tier tier;
    std::unique_ptr<Runtime> runtime;
    std::shared_ptr<const program::Program> program;
    std::vector<double> ns;
  };
  std::vector<Way> ways;
  for (const Tier tier : {Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised, Tier::kPeak}) {
    Way way{.tier = tier, .runtime = Runtime::create(tier_options(tier)).value(), .program = {}, .ns = {}};
    way.program = bench::freeze_handler(*way.runtime, file);
    ways.push_back(std::move(way));
  }
  constexpr uint64_t kRounds = 20;
  constexpr uint64_t kRequests = 100;
  uint64_t number = 0;
  for (uint64_t round = 0; round < kRounds; round++) {
    for (Way& way : ways) {
      for (uint64_t i = 0; i < kRequests; i++) {
        way.ns.push_back(bench::ask(*way.program, bench::exchange(number++, false)));
      }
    }
  }
  for (Way& way : ways) {
    const std::string name = fmt::format("request_{}", engine::tier_name(way.tier));
    report.add({bench::figure_of(name, way.ns)});
    report.top(fmt::format("requests_per_s_{}", engine::tier_name(way.tier)), kNsInSecond / report.p50(name));
  }
  report.ratio("baseline_vs_interpreter", "request_interpreter", "request_baseline", "higher");
  report.ratio("optimised_vs_baseline", "request_baseline", "request_optimised", "higher");
  report.ratio("peak_vs_optimised", "request_optimised", "request_peak", "higher");
}

// --- kernels in the peak tier ----------------------------------------------------------------------------

void measure_kernels(bench::Report& report) {
  constexpr std::string_view kLanguages[] = {"rust", "cpp", "go"};
  for (const std::string_view language : kLanguages) {
    const std::vector<uint8_t> wasm = built_guest(fmt::format("{}_reactor.wasm", language));
    std::vector<std::vector<double>> ns(2);
    std::vector<std::unique_ptr<Runtime>> runtimes;
    std::vector<Instance> instances;
    for (const Tier tier : {Tier::kOptimised, Tier::kPeak}) {
      runtimes.push_back(Runtime::create(tier_options(tier)).value());
      const auto module = runtimes.back()->load_module("kernel", wasm);
      if (!module.ok())
        fail(fmt::format("{} in the {} tier: {}", language, engine::tier_name(tier),
                         module.status().message()));
      instances.push_back(runtimes.back()->instantiate(*module.value()).value());
    }
    constexpr int32_t kBelow = 20'000;
    constexpr int32_t kPrimes = 2262;
    constexpr int kRounds = 60;
    for (int round = 0; round < kRounds; round++) {
      for (size_t i = 0; i < instances.size(); i++) {
        const auto primes = instances[i].function<int32_t(int32_t)>("primes").value();
        ns[i].push_back(ns_of([&] {
          if (primes(kBelow).value() != kPrimes) fail("a wrong answer");
        }));
      }
    }
    const std::string optimised = fmt::format("kernel_{}_optimised", language);
    const std::string peak = fmt::format("kernel_{}_peak", language);
    report.add({bench::figure_of(optimised, ns[0]), bench::figure_of(peak, ns[1])});
    report.ratio(fmt::format("peak_vs_optimised_{}", language), optimised, peak, "higher");
  }
}

// --- climbing ------------------------------------------------------------------------------------------

void measure_climbing(bench::Report& report) {
  constexpr std::chrono::seconds kStays{5};
  const bench::Calls stays = bench::call_while_it_climbs(Tier::kInterpreter, kStays);
  const bench::Calls climbs = bench::call_while_it_climbs(std::nullopt, {});
  for (const bench::Calls::Reached& reached : climbs.reached) {
    report.top(fmt::format("reached_{}_after_ms", engine::tier_name(reached.tier)), reached.after_ms);
  }
  bench::report_promotion(report, stays, climbs);
}

int run(int argc, char** argv) {
  bench::Report report("tiers", argc, argv);
  measure_first_answers(report);
  measure_tiers(report);
  measure_kernels(report);
  measure_climbing(report);
  return report.print();
}

}  // namespace
}  // namespace spore

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--answer-once") return spore::answer_once(argv[2]);
  return spore::run(argc, argv);
}
