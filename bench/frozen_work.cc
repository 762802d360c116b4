#include "bench/frozen_work.h"

#include <chrono>

#include "bench/harness.h"
#include "spore/base/fd.h"
#include "spore/handler/handler.h"

namespace spore::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kRequestBytes = 200;

}  // namespace

const std::string_view kPythonHandler = R"(import json, re

def handle(request):
    item = json.loads(request)
    item["text"] = re.sub(r"[0-9]+", "#", item["text"])
    return json.dumps(item)

handle('{"text": "warm 1"}')
)";
const std::string_view kPythonOnce = "\nimport sys\nprint(handle(sys.stdin.readline()))\n";
const std::string_view kPythonLoop = R"(
import sys
for line in sys.stdin:
    print(handle(line), flush=True)
)";
const std::string_view kJavaScriptHandler = R"(export function handle(request) {
  const item = JSON.parse(request);
  item.text = item.text.replace(/[0-9]+/g, "#");
  return JSON.stringify(item);
}

handle('{"text": "warm 1"}');
)";

Exchange exchange(uint64_t number, bool blanks) {
  const auto text = [&](std::string_view a, std::string_view b) {
    std::string json = fmt::format(R"({{"id": {}, "price": 12.5, "tags": ["new", "blue"], "text": "order)",
                                   1'000'000 + number);
    if (!blanks) std::erase(json, ' ');
    return json + fmt::format(" {} of {} pieces", a, b);
  };
  Exchange made{.request = text(std::to_string(number), "42"), .answer = text("#", "#")};
  const std::string filler(kRequestBytes - made.request.size() - 2, '.');
  for (std::string* json : {&made.request, &made.answer}) *json += filler + "\"}";
  return made;
}

std::unique_ptr<Runtime> make_frozen_runtime(Tier tier) {
  RuntimeOptions options{.tier = tier};
  options.compile_in = runtime::CompileIn::kHelper;
  options.code_cache = code::code_cache_options(SPORE_SOURCE_DIR "/build/handlers");
  return Runtime::create(std::move(options)).value();
}

std::shared_ptr<const program::Program> freeze_handler(Runtime& runtime, const std::filesystem::path& file) {
  const handler::Handler handler = handler::read_handler(file, {}).value();
  constexpr size_t kBytesMax = size_t{64} << 20;
  const std::filesystem::path module =
      std::filesystem::path(SPORE_SOURCE_DIR "/build/guests") / handler.language->runtime;
  Result<std::vector<uint8_t>> bytes = read_file(module, kBytesMax);
  if (!bytes.ok()) fail(fmt::format("{}: tools/guests.sh brings it", bytes.status().message()));
  const auto frozen = runtime.freeze_program(handler.language->name, bytes.value(),
                                             {.wasi = host::WasiConfig::create(handler.world).value()},
                                             {.framing = handler::kFraming, .setup = handler.setup});
  if (!frozen.ok()) fail(fmt::format("{}\n{}", frozen.status().message(), frozen.status().detail()));
  return frozen->program;
}

double ask(const program::Program& program, const Exchange& one) {
  const auto begin = Clock::now();
  const Result<program::Answer> answer = program.request(one.request);
  const double ns = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
  if (!answer.ok()) fail(answer.status().message());
  if (answer->output != one.answer)
    fail(fmt::format("'{}' was answered by '{}'", one.request, answer->output));
  return ns;
}

}  // namespace spore::bench
