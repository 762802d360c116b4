#include "demo/acts.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "bench/frozen_work.h"
#include "bench/harness.h"
#include "spore/base/fd.h"
#include "spore/handler/handler.h"
#include "spore/snapshot/reader.h"
#include "tests/process.h"

namespace spore::demo {

using bench::Exchange;
using bench::fail;
using Clock = std::chrono::steady_clock;

namespace {

constexpr uint64_t kRequests = 10'000;
constexpr double kMany = static_cast<double>(kRequests);

double ns_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

// All of them, each answer checked.
double ask_many(const program::Program& program, bool blanks) {
  const auto begin = Clock::now();
  for (uint64_t i = 0; i < kRequests; i++) bench::ask(program, bench::exchange(i, blanks));
  return ns_since(begin);
}

// One process a request, of a few, as there is no time for all.
double start_processes(const std::vector<std::string>& words, const std::string& input,
                       std::string_view answer) {
  constexpr int kTimes = 20;
  const auto begin = Clock::now();
  for (int i = 0; i < kTimes; i++) {
    const test::ProcessResult result = test::run_process(words, {.input_path = input});
    if (result.out.find(answer) == std::string::npos)
      fail(fmt::format("{}: '{}' {}", words[0], result.out, result.err));
  }
  return ns_since(begin) / kTimes;
}

void compare(std::string_view what, double many_ns, double process_ns, std::vector<Row>& table) {
  say(fmt::format("  {} requests, each to a clean copy of it: {}, {} each", kRequests, duration(many_ns),
                  duration(many_ns / kMany)));
  say(fmt::format("  a process for each takes {}: {} for as many", duration(process_ns),
                  duration(process_ns * kMany)));
  table.push_back({std::string(what), duration(many_ns / kMany), duration(process_ns),
                   fmt::format("{:.0f}x", process_ns * kMany / many_ns), "./dev bench frozen"});
}

// A request leaves something; does the next one find it?
void show_clean(const program::Program& program) {
  const std::string first = program.request("remember").value().output;
  const std::string second = program.request("recall").value().output;
  if (first == second || second != "nothing") fail("a request saw an earlier one");
  say(fmt::format("  a request leaves {} in a global; the next one finds {}", quoted(first), second));
}

}  // namespace

void say(const std::string& line) { std::puts(line.c_str()); }

std::string duration(double ns) {
  if (ns < 1e3) return fmt::format("{:.0f} ns", ns);
  if (ns < 1e6) return fmt::format("{:.1f} us", ns / 1e3);
  if (ns < 1e9) return fmt::format("{:.1f} ms", ns / 1e6);
  return fmt::format("{:.1f} s", ns / 1e9);
}

std::string quoted(const std::string& text) { return text.empty() ? "nothing" : "\"" + text + "\""; }

PythonInBackground::PythonInBackground()
    : thread_([this] {
        const test::TemporaryFolder folder;
        const std::string file = folder.write("handler.py", std::string(bench::kPythonHandler));
        runtime_ = bench::make_frozen_runtime(Tier::kOptimised);
        program_ = bench::freeze_handler(*runtime_, file);
        ready_.store(true);
      }) {}

std::shared_ptr<const program::Program> PythonInBackground::wait() {
  const auto begin = Clock::now();
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  for (bool told = false; !ready_.load(); told = true) {
    if (terminal) std::printf("\r  preparing Python, %.0f s ", ns_since(begin) / 1e9);
    if (!terminal && !told) say("  preparing Python: rewriting and compiling it, once");
    std::fflush(stdout);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  if (terminal) std::printf("\r%40s\r", "");
  if (thread_.joinable()) thread_.join();
  return program_;
}

void act_two(std::vector<Row>& table) {
  say("Act 2: a JavaScript handler is loaded once and frozen; each request gets a clean copy of that "
      "moment.");
  const test::TemporaryFolder folder;
  const std::unique_ptr<Runtime> runtime = bench::make_frozen_runtime(Tier::kOptimised);
  const auto begin = Clock::now();
  const auto forgetful = bench::freeze_handler(*runtime, folder.write("forgetful.js", R"(
let kept = "nothing";
export function handle(request) {
  if (request === "remember") kept = "a secret";
  return kept;
})"));
  say(fmt::format("  QuickJS was compiled, or found compiled, started and frozen in {}",
                  duration(ns_since(begin))));
  show_clean(*forgetful);
  if (!runtime->unload_module("javascript").ok()) fail("unloading");
  const auto program =
      bench::freeze_handler(*runtime, folder.write("handler.js", std::string(bench::kJavaScriptHandler)));
  const Exchange one = bench::exchange(1, false);
  // The same engine and runner, natively: they read a handler, then one request.
  const auto framed = [](const std::string& text) {
    const auto length = static_cast<uint32_t>(text.size());
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
  };
  const std::string setup =
      fmt::format(R"({{"file": "handler.js", "source": {}}})", json_quote(bench::kJavaScriptHandler));
  const std::string input = folder.write("input", framed(setup) + framed(one.request));
  const double process =
      start_processes({SPORE_SOURCE_DIR "/build/guests/native/javascript"}, input, one.answer);
  compare("a clean JavaScript for a request", ask_many(*program, false), process, table);
}

void act_three(PythonInBackground& python, std::vector<Row>& table) {
  say("Act 3: the same with CPython 3.12, json and re loaded; it was prepared while you read this.");
  const auto program = python.wait();
  const test::TemporaryFolder folder;
  const std::string script =
      folder.write("once.py", std::string(bench::kPythonHandler) + std::string(bench::kPythonOnce));
  const Exchange one = bench::exchange(1, true);
  const std::string input = folder.write("request", one.request + "\n");
  const double process = start_processes({bench::kPython, script}, input, one.answer);
  say(fmt::format("  it started in {}, and is {:.0f} MB that all copies share",
                  duration(static_cast<double>(program->facts().boot_ns)),
                  static_cast<double>(program->facts().memory_bytes) / 1e6));
  compare("a clean Python for a request", ask_many(*program, true), process, table);
}

namespace {

constexpr std::string_view kRubyHandler = R"(def handle(request)
  request.reverse
end
)";

// An image of Ruby with that handler, as it may have come from another machine.
std::string freeze_ruby(const test::TemporaryFolder& folder) {
  const std::string file = folder.write("handler.rb", std::string(kRubyHandler));
  RuntimeOptions options;
  options.code_cache = code::code_cache_options(SPORE_SOURCE_DIR "/build/handlers");
  options.limits.deadline_ms = 120'000;
  const std::unique_ptr<Runtime> runtime = Runtime::create(options).value();
  const handler::Handler handler = handler::read_handler(file, {}).value();
  constexpr size_t kBytesMax = size_t{64} << 20;
  const auto bytes = read_file(
      std::filesystem::path(SPORE_SOURCE_DIR "/build/guests") / handler.language->runtime, kBytesMax);
  if (!bytes.ok()) fail(fmt::format("{}: tools/guests.sh brings it", bytes.status().message()));
  const auto frozen = runtime->freeze_program("ruby", bytes.value(),
                                              {.wasi = host::WasiConfig::create(handler.world).value()},
                                              {.framing = handler::kFraming, .setup = handler.setup});
  if (!frozen.ok()) fail(frozen.status().message());
  const std::string image = (folder.path() / "ruby.spore").native();
  if (!frozen->program->save(image, frozen->source).ok()) fail("saving Ruby's image");
  return image;
}

// What is seen of a module that climbs: a line that changes on a terminal, else a line for each tier.
class TierLine {
 public:
  void answered(Tier tier, double s, double ns) {
    if (count_++ == 0 || tier != tier_) {
      end();
      tier_ = tier;
      count_ = 1;
      sum_ns_ = 0;
      said_ = false;
    }
    sum_ns_ += ns;
    const bool enough = count_ >= 20;
    const std::string line =
        fmt::format("  {:5.1f} s  {:<12} {:>7} answers, {} each", s, engine::tier_name(tier), count_,
                    duration(sum_ns_ / static_cast<double>(count_)));
    if (terminal_) std::printf("\r%-70s", line.c_str());
    if (!terminal_ && enough && !said_) {
      say(line);
      said_ = true;
    }
    std::fflush(stdout);
  }
  void end() {
    if (terminal_ && count_ > 1) std::printf("\n");
  }

 private:
  const bool terminal_ = ::isatty(STDOUT_FILENO) == 1;
  Tier tier_{};
  uint64_t count_ = 0;
  double sum_ns_ = 0;
  bool said_ = false;
};

}  // namespace

void act_five(std::vector<Row>& table) {
  say("Act 5: Ruby, 16 MB that were never compiled here, answers while its compilers run.");
  const test::TemporaryFolder folder;
  const std::string image = freeze_ruby(folder);
  const auto begin = Clock::now();
  RuntimeOptions options;
  options.parallel_compile = true;
  const std::unique_ptr<Runtime> runtime = Runtime::create(options).value();
  // We made it a moment ago: its hashes will do.
  const auto contents =
      snapshot::read(image, {.validation = snapshot::Validation::kChecksum, .proved = {}}).value();
  const auto module = runtime->load_image("ruby", contents).value();
  const auto program = runtime->restore(*module, contents).value();
  TierLine line;
  double first_ns = 0;
  constexpr double kPatienceNs = 120e9;
  int after = 0;
  while (after < 2000 && ns_since(begin) < kPatienceNs) {
    const auto asked = Clock::now();
    const Result<program::Answer> answer = program->request("stressed");
    const double ns = ns_since(asked);
    if (!answer.ok() || answer->output != "desserts") fail("Ruby answered otherwise");
    if (first_ns == 0) {
      first_ns = ns_since(begin);
      say(fmt::format("  the first answer came {} after its image was opened", duration(first_ns)));
    }
    line.answered(module->tier(), ns_since(begin) / 1e9, ns);
    if (module->tier() == Tier::kOptimised) {
      after++;
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));  // the compilers want the processors, too
    }
  }
  line.end();
  const code::ModuleSteps steps = runtime->explain(*module).value();
  if (steps.tier != Tier::kOptimised) say("  (this machine was too busy to optimise it in two minutes)");
  const auto compiled_ns = static_cast<double>(steps.steps.back().make_ns);
  say(fmt::format("  of its {} functions {} were needed until it was compiled", steps.lazy->functions,
                  steps.lazy->translated));
  table.push_back({"the first answer of 16 MB", duration(first_ns), duration(compiled_ns),
                   fmt::format("{:.0f}x", compiled_ns / first_ns), "./dev bench tiers"});
}

}  // namespace spore::demo
