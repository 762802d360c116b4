#include "apps/spore/train.h"

#include <optional>
#include <thread>

#include "apps/spore/requests.h"
#include "spore/base/fd.h"
#include "spore/base/utf8.h"

namespace spore::cli {

using engine::Tier;
using program::Framing;

namespace {

// The time is a bound, not a measure: without it a compiler that hangs would hang us.
Status wait_for_optimised(const runtime::Runtime& runtime, const runtime::Module& module) {
  constexpr std::chrono::milliseconds kLookEach{10};
  const auto end = std::chrono::steady_clock::now() + kTrainingMax;
  while (module.tier() < Tier::kOptimised) {
    const code::ModuleSteps steps = SPORE_TRY(runtime.explain(module));
    if (steps.tier >= Tier::kOptimised) break;
    if (steps.at_top || std::chrono::steady_clock::now() >= end) {
      fmt::print(stderr, "spore: its code is {}, not optimised ({})\n", engine::tier_name(steps.tier),
                 steps.at_top ? steps.next : fmt::format("after {} s", kTrainingMax.count()));
      break;
    }
    std::this_thread::sleep_for(kLookEach);
  }
  return {};
}

}  // namespace

void climb_at_once(runtime::RuntimeOptions& options) {
  options.compile_after = options.tier_up = {.calls = 0, .delay_ms = 0, .guest_ms = 0};
}

Result<std::vector<std::string>> read_requests(const std::filesystem::path& path, Framing framing) {
  constexpr uint64_t kBytesMax = uint64_t{256} << 20;
  const RegularFile file = SPORE_TRY(open_regular(path, kBytesMax));
  RequestReader reader(file.fd.get(), fmt::format("'{}'", printable(path.native())));
  std::vector<std::string> requests;
  if (framing == Framing::kEndOfInput) {
    requests.push_back(SPORE_TRY(reader.rest()));
    return requests;
  }
  for (;;) {
    std::optional<std::string> request =
        SPORE_TRY(framing == Framing::kLines ? reader.line() : reader.message());
    if (!request) break;
    requests.push_back(*std::move(request));
  }
  if (!requests.empty()) return requests;
  return Status::invalid_argument("--train '{}': there is no request in it", printable(path.native()));
}

Status train(const runtime::Runtime& runtime, const runtime::Module& module, const program::Program& program,
             const std::vector<std::string>& requests) {
  size_t answered = 0;
  Status last;
  for (size_t i = 0; i < requests.size(); i++) {
    Result<program::Answer> answer = program.request(requests[i]);
    if (answer.ok()) {
      answered++;
      continue;
    }
    last = std::move(answer).status();
    fmt::print(stderr, "spore: --train, request {}: {}\n", i + 1, last.message());
  }
  if (answered == 0) return last;
  SPORE_TRY(wait_for_optimised(runtime, module));
  for (const std::string& request : requests) static_cast<void>(program.request(request));
  return {};
}

}  // namespace spore::cli
