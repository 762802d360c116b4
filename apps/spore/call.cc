// spore call IMAGE [--request TEXT] [< requests] | spore call IMAGE FUNCTION [ARGS...]

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "apps/spore/command.h"
#include "apps/spore/image.h"
#include "apps/spore/progress.h"
#include "apps/spore/requests.h"
#include "apps/spore/values.h"
#include "spore/base/json.h"
#include "spore/runtime/runtime.h"

namespace spore::cli {
namespace {

using program::Framing;

// Sends requests and prints answers, one after the other.
class Requests {
 public:
  // `told`: how answers are told apart.
  Requests(const Args& args, const program::Program& program, Framing told)
      : json_(args.has("--json")), told_(told), program_(program) {}

  // The exit code of one request on its own.  Nothing follows its answer, which is printed as it is.
  Result<int> one(std::string_view text) {
    const program::Answer answer = SPORE_TRY(ask(text));
    if (!json_) print(answer.output);
    constexpr uint32_t kExitCodeMax = 255;
    return static_cast<int>(std::min(answer.exit_code.value_or(kDone), kExitCodeMax));
  }
  // One of many: what goes wrong is told, and the next one is as good.
  void next(std::string_view text) {
    number_++;
    const Result<program::Answer> answer = ask(text);
    if (answer.ok()) {
      if (!json_) print_framed(answer->output);
      failed_ = failed_ || answer->exit_code.value_or(kDone) != kDone;
      return;
    }
    failed_ = true;
    if (json_) {
      JsonWriter json;
      json.begin_object().begin_object("error").field("code", code_name(answer.code()));
      json.field("message", answer.status().message()).end_object().end_object();
      print(json.take());
    }
    fmt::print(stderr, "spore: request {}: {}\n{}", number_, answer.status().message(),
               answer.status().detail());
  }
  int exit_code() const { return failed_ ? kFailed : kDone; }

 private:
  Result<program::Answer> ask(std::string_view text) {
    const auto begin = std::chrono::steady_clock::now();
    program::Answer answer = SPORE_TRY(program_.request(text));
    constexpr double kUsInMs = 1e3;
    const double microseconds = milliseconds_since(begin) * kUsInMs;
    if (json_) {
      JsonWriter json;
      json.begin_object().field("output", answer.output).field("error", answer.error);
      if (answer.exit_code.has_value()) {
        json.field("exit_code", uint64_t{*answer.exit_code});
      } else {
        json.null_field("exit_code");
      }
      json.field("call_us", microseconds).end_object();
      print(json.take());
      return answer;
    }
    fmt::print(stderr, "{}", answer.error);
    return answer;
  }
  void print_framed(std::string_view answer) const {
    if (told_ == Framing::kLength) {
      const auto length = static_cast<uint32_t>(answer.size());
      print({reinterpret_cast<const char*>(&length), sizeof length});
    }
    print(answer);
    // A program that reads lines ends its answers itself.
    if (told_ == Framing::kLines && program_.framing() != told_ && !answer.ends_with('\n')) print("\n");
  }

  bool json_;
  bool failed_ = false;
  Framing told_;
  uint64_t number_ = 0;
  const program::Program& program_;
};

Result<int> answer_input(Requests& requests, Framing framing) {
  RequestReader reader(STDIN_FILENO, "standard input");
  if (framing == Framing::kEndOfInput) {
    const std::string text = SPORE_TRY(reader.rest());
    return requests.one(text);
  }
  for (;;) {
    const std::optional<std::string> text =
        SPORE_TRY(framing == Framing::kLines ? reader.line() : reader.message());
    if (!text.has_value()) return requests.exit_code();
    requests.next(*text);
    std::fflush(stdout);
  }
}

Result<int> call_function(const Args& args, const program::Library& library,
                          std::span<const std::string_view> words) {
  if (words.empty())
    return Status::invalid_argument("this image is of a library: say what to call, and with what");
  const cell::Lease lease = SPORE_TRY(library.pool_entry()->acquire());
  const host::DynamicFunction function = SPORE_TRY(lease->dynamic_function(words.front()));
  const std::vector<host::Value> values = SPORE_TRY(parse_values(function.signature(), words.subspan(1)));
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<host::Value> results = SPORE_TRY(function(values));
  constexpr double kUsInMs = 1e3;
  print_results(args, results, milliseconds_since(begin) * kUsInMs);
  return kDone;
}

}  // namespace

Result<int> call_image(Args& args) {
  const std::string_view file = SPORE_TRY(args.positional("IMAGE"));
  const std::vector<std::string_view> words = args.rest();
  const ImageFile image = SPORE_TRY(read_image(args, std::filesystem::path(file)));
  const snapshot::Contents& contents = image.contents;
  runtime::RuntimeOptions defaults;
  SPORE_TRY(apply_preset(args, contents.presets, defaults));
  const runtime::RuntimeOptions options = SPORE_TRY(options_of(args, std::move(defaults)));
  const std::unique_ptr<runtime::Runtime> runtime = SPORE_TRY(runtime::Runtime::create(options));
  std::optional<Progress> progress(fmt::format("compiling {}", file));
  const std::shared_ptr<const runtime::Module> module = SPORE_TRY(runtime->load_image(file, contents));
  progress.reset();
  if (contents.manifest.framing == Framing::kNone) {
    if (args.has("--request")) {
      return Status::invalid_argument("{} is of a library: call its functions, it takes no requests", file);
    }
    const auto library = SPORE_TRY(runtime->restore_library(*module, contents));
    return call_function(args, *library, words);
  }
  if (!words.empty()) {
    return Status::invalid_argument("{} is of a program: it takes requests, and no '{}'", file,
                                    words.front());
  }
  const auto program = SPORE_TRY(runtime->restore(*module, contents));
  Framing told = program->framing();
  if (const auto name = args.value_of("--stdin")) told = SPORE_TRY(program::parse_framing(*name));
  Requests requests(args, *program, told);
  if (const auto text = args.value_of("--request")) return requests.one(*text);
  return answer_input(requests, told);
}

}  // namespace spore::cli
