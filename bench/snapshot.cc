// What does it save to restore a snapshot, instead of starting what is in it?
//
//   cold       Ruby 3.4 in a new process: compiled by Cranelift, initialised, libraries required, first
//   answer warm_boot  the same with its code from the code cache mapped     a snapshot in the mapped form,
//   code from the cache, first answer: in a new process wire       the same from the wire form: compressed
//   cold_disk  mapped, while nothing of the file is in memory: with its hot pages asked for at once, and
//              without
//   encode, decode
//              the snapshot written and read, on one thread and on two, beside zstd on the bytes of its
//              memory
//
// Every answer is checked.  The first run prepares and compiles Ruby; it is kept in build/handlers.

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "bench/climbing.h"
#include "bench/harness.h"
#include "spore/handler/handler.h"
#include "spore/snapshot/reader.h"
#include "spore/snapshot/writer.h"
#include "spore/spore.h"
#include "tests/process.h"

namespace spore {
namespace {

namespace fs = std::filesystem;
using bench::built_guest;
using bench::fail;
using Clock = std::chrono::steady_clock;

constexpr double kNsInMs = 1e6;
constexpr double kNsInSecond = 1e9;
constexpr std::string_view kAnswer = R"({"sum":6,"words":["b","a"],"at":1970})";
const fs::path kGuests = SPORE_SOURCE_DIR "/build/guests";
const fs::path kHome = SPORE_SOURCE_DIR "/build/handlers";

constexpr std::string_view kHandler = R"(require "json"
require "set"
require "time"
require "erb"

def handle(request)
  item = JSON.parse(request)
  JSON.generate({"sum" => item["numbers"].sum, "words" => Set.new(item["words"]).to_a, "at" => Time.at(0).utc.year})
end
)";
constexpr std::string_view kRequest = R"({"numbers":[1,2,3],"words":["b","a","b"]})";

double ns_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

// In a process of its own: this one.
int answer_once(bool keep_code) {
  RuntimeOptions options;
  options.tier = Tier::kOptimised;
  options.parallel_compile = true;
  options.keep_code = keep_code;
  options.code_cache = code::code_cache_options(kHome);
  options.limits.deadline_ms = 600'000;
  const std::unique_ptr<Runtime> runtime = Runtime::create(std::move(options)).value();
  const test::TemporaryFolder folder;
  const fs::path file = folder.write("handler.rb", std::string(kHandler));
  const handler::Handler handler = handler::read_handler(file, {}).value();
  const std::vector<uint8_t> wasm = built_guest(handler.language->runtime);
  const auto frozen =
      runtime->freeze_program("ruby", wasm, {.wasi = host::WasiConfig::create(handler.world).value()},
                              {.framing = handler::kFraming, .setup = handler.setup});
  if (!frozen.ok()) fail(frozen.status().message());
  const Result<program::Answer> answer = frozen->program->request(kRequest);
  if (!answer.ok() || answer->output != kAnswer) fail("Ruby answered otherwise");
  fmt::print("{}", answer->output);
  return 0;
}

// Until the answer is there: that the process then gives its memory back is nobody's concern.
double answer_of(const std::string& command) {
  const auto begin = Clock::now();
  FILE* const process = ::popen(command.c_str(), "r");
  if (process == nullptr) fail("popen");
  std::string answer(kAnswer.size(), ' ');
  const size_t bytes = std::fread(answer.data(), 1, answer.size(), process);
  const double ns = ns_since(begin);
  if (bytes != answer.size() || answer != kAnswer || std::fgetc(process) != EOF) {
    fail(fmt::format("Ruby answered '{}' to {}", answer, command));
  }
  if (::pclose(process) != 0) fail("Ruby failed");
  return ns;
}

std::string call_of(const fs::path& image) {
  return fmt::format("exec '{}' call --home '{}' '{}' --request '{}'", SPORE_CLI, kHome.native(),
                     image.native(), kRequest);
}

void freeze_ruby(const test::TemporaryFolder& folder, const fs::path& image) {
  const std::string handler = folder.write("handler.rb", std::string(kHandler));
  const std::string requests = folder.write("requests", std::string(kRequest) + "\n");
  const test::ProcessResult frozen = test::run_process(
      {SPORE_CLI, "freeze", "--home", kHome.native(), "--tier", "optimised", "--runtime",
       (kGuests / "ruby.wasm").native(), handler, "--train", requests, "-o", image.native()});
  if (frozen.exit_code != 0) fail(fmt::format("freezing Ruby: {}{}", frozen.out, frozen.err));
}

void measure_answers(bench::Report& report, const fs::path& mapped, const fs::path& wire) {
  const std::string self = fs::read_symlink("/proc/self/exe").native();
  const auto boot = [&](std::string_view how) { return fmt::format("exec '{}' {}", self, how); };
  // Code is in the cache, and both files are known.
  for (const std::string& command :
       {call_of(mapped), call_of(wire), boot("--warm-boot"), boot("--warm-boot")}) {
    answer_of(command);
  }
  constexpr int kRounds = 3;
  constexpr int kAnswers = 10;
  std::vector<double> cold;
  std::vector<double> warm;
  std::vector<double> from_mapped;
  std::vector<double> from_wire;
  for (int round = 0; round < kRounds; round++) {
    cold.push_back(answer_of(boot("--cold")));
    for (int i = 0; i < kAnswers; i++) {
      warm.push_back(answer_of(boot("--warm-boot")));
      from_mapped.push_back(answer_of(call_of(mapped)));
      from_wire.push_back(answer_of(call_of(wire)));
    }
  }
  report.add({bench::figure_of("cold", cold), bench::figure_of("warm_boot", warm),
              bench::figure_of("mapped", from_mapped), bench::figure_of("wire", from_wire)});
  for (const std::string_view name : {"cold", "warm_boot", "mapped", "wire"}) {
    report.top(fmt::format("{}_ms", name), report.p50(name) / kNsInMs);
  }
  report.top("restore_vs_cold", report.p50("cold") / report.p50("mapped"));
  report.ratio("restore_vs_cold", "cold", "mapped", "higher");
  report.ratio("restore_wire_vs_cold", "cold", "wire", "higher");
  report.ratio("restore_vs_warm_boot", "warm_boot", "mapped", "higher");
  report.ratio("restore_wire_vs_warm_boot", "warm_boot", "wire", "higher");
}

// --- a cold disk ---------------------------------------------------------------------------------------

// The system lets go of what it keeps of a file.
void forget(const fs::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() || ::fdatasync(fd.get()) != 0 ||
      ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED) != 0) {
    fail("a file stays in memory");
  }
}

void measure_cold_disk(bench::Report& report, const fs::path& image) {
  constexpr int kRounds = 15;
  std::vector<double> with;
  std::vector<double> without;
  for (int round = 0; round < kRounds; round++) {
    forget(image);
    with.push_back(answer_of(call_of(image)));
    forget(image);
    without.push_back(answer_of(call_of(image) + " --no-prefetch"));
  }
  report.add({bench::figure_of("cold_disk", with), bench::figure_of("cold_disk_without_prefetch", without)});
  report.ratio("prefetch_gain", "cold_disk_without_prefetch", "cold_disk", "higher");
}

// --- throughput ----------------------------------------------------------------------------------------

double run_zstd(const std::vector<std::string>& words) {
  std::vector<std::string> all{"/usr/bin/zstd", "-q", "-f"};
  all.insert(all.end(), words.begin(), words.end());
  const auto begin = Clock::now();
  const test::ProcessResult result = test::run_process(all);
  const double ns = ns_since(begin);
  if (result.exit_code != 0) fail(fmt::format("zstd: {}", result.err));
  return ns;
}

void measure_throughput(bench::Report& report, const test::TemporaryFolder& folder,
                        const snapshot::Contents& contents) {
  // What zstd gets: the pages of memory and the module, one after the other.
  std::string raw;
  for (const auto& memory : contents.image.memories) {
    for (size_t offset = 0; offset < memory->mapped_bytes(); offset += memory::kPageBytes) {
      const std::byte* page = memory->page(offset);
      if (page != nullptr) raw.append(reinterpret_cast<const char*>(page), memory::kPageBytes);
    }
  }
  raw.append(contents.source->begin(), contents.source->end());
  const std::string plain = folder.write("plain", raw);
  const std::string packed = plain + ".zst";
  const fs::path file = folder.path() / "throughput.spore";
  constexpr int kRounds = 3;
  const auto mb_per_s = [&](const std::vector<double>& samples) {
    return static_cast<double>(raw.size()) / 1e6 / (bench::figure_of("", samples).p50_ns / kNsInSecond);
  };
  for (const bool parallel : {false, true}) {
    std::vector<double> encode;
    std::vector<double> decode;
    std::vector<double> zstd_encode;
    std::vector<double> zstd_decode;
    const std::string threads = parallel ? "-T2" : "-T1";
    for (int round = 0; round < kRounds; round++) {
      auto begin = Clock::now();
      const auto id = snapshot::write(contents, file, {.parallel = parallel, .progress = {}});
      encode.push_back(ns_since(begin));
      if (!id.ok()) fail(id.status().message());
      snapshot::ReadOptions options{.validation = snapshot::Validation::kChecksum};
      options.parallel = parallel;
      begin = Clock::now();
      const auto read = snapshot::read(file, options);
      decode.push_back(ns_since(begin));
      if (!read.ok() || read->id != id.value()) fail("it is not read as it was written");
      zstd_encode.push_back(run_zstd({"-6", threads, plain, "-o", packed}));
      zstd_decode.push_back(run_zstd({"-d", threads, packed, "-o", plain + ".again"}));
    }
    const int count = parallel ? 2 : 1;
    report.top(fmt::format("encode_mb_per_s_{}", count), mb_per_s(encode));
    report.top(fmt::format("decode_mb_per_s_{}", count), mb_per_s(decode));
    report.top(fmt::format("zstd_encode_mb_per_s_{}", count), mb_per_s(zstd_encode));
    report.top(fmt::format("zstd_decode_mb_per_s_{}", count), mb_per_s(zstd_decode));
  }
  report.top("raw_bytes", static_cast<double>(raw.size()));
  report.top("file_bytes", static_cast<double>(fs::file_size(file)));
  report.top("zstd_bytes", static_cast<double>(fs::file_size(packed)));
}

int run(int argc, char** argv) {
  bench::Report report("snapshot", argc, argv);
  const test::TemporaryFolder folder;
  const fs::path mapped = folder.path() / "mapped.spore";
  const fs::path wire = folder.path() / "wire.spore";
  freeze_ruby(folder, mapped);
  const auto contents = snapshot::read(mapped, {.validation = snapshot::Validation::kChecksum});
  if (!contents.ok()) fail(contents.status().message());
  const auto written = snapshot::write(contents.value(), wire);
  if (!written.ok()) fail(written.status().message());
  measure_answers(report, mapped, wire);
  measure_cold_disk(report, mapped);
  measure_throughput(report, folder, contents.value());
  return report.print();
}

}  // namespace
}  // namespace spore

int main(int argc, char** argv) {
  const std::string_view how = argc == 2 ? argv[1] : "";
  if (how == "--cold" || how == "--warm-boot") return spore::answer_once(how == "--warm-boot");
  return spore::run(argc, argv);
}
