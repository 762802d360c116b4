// The `spore` command: nouns and verbs in, exit code out.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "apps/spore/command.h"
#include "spore/base/json.h"
#include "spore/engine/trap.h"

namespace spore::cli {
namespace {

void print_usage(std::FILE* out) {
  std::fputs("spore: runs other people's WebAssembly.\n\nUsage: spore COMMAND [FLAGS] ...\n\n", out);
  for (const Command& command : commands()) {
    const std::string words = fmt::format("{} {}", command.name, command.operands);
    std::fputs(fmt::format("  {:38} {}\n", words, command.help).c_str(), out);
  }
  std::fputs(
      "\n'spore COMMAND --help' lists its flags.  Exit codes: 0 done, 1 failed, 2 misused,\n"
      "124 deadline, 130 interrupted, 134 the guest trapped.\n",
      out);
}

void print_help(const Command& command) {
  print(fmt::format("Usage: spore {} {}\n\n{}\n\nFlags:\n", command.name, command.operands, command.help));
  for (const Flag& flag : all_flags(command)) {
    const std::string words = fmt::format("{} {}", flag.name, flag.value);
    print(fmt::format("  {:28} {}\n", words, flag.help));
  }
}

// "(deadline_ms=10000)" in a message names an option: say how to change it.
std::string hint(std::string_view message) {
  for (const runtime::OptionDescription& option : runtime::option_descriptions()) {
    if (message.find(fmt::format("{}=", option.name)) == std::string_view::npos) continue;
    return fmt::format("       change it with {} (or {} in the environment)\n", runtime::flag_name(option),
                       runtime::environment_name(option));
  }
  return {};
}

void print_error_json(const Status& status) {
  JsonWriter json;
  json.begin_object().begin_object("error").field("code", code_name(status.code()));
  json.field("message", status.message());
  if (const engine::TrapInfo* trap = engine::trap_info(status)) {
    json.field("trap", engine::trap_kind_message(trap->kind)).begin_array("backtrace");
    for (const engine::Frame& frame : trap->backtrace) {
      json.begin_object().field("function", frame.function).field("index", frame.function_index);
      frame.module_offset == engine::kOffsetUnknown ? json.null_field("offset")
                                                    : json.field("offset", frame.module_offset);
      json.end_object();
    }
    json.end_array();
  }
  json.end_object().end_object();
  print(json.take());
}

int report(const Status& status, bool as_json) {
  if (as_json) print_error_json(status);
  std::fputs(
      fmt::format("spore: {}\n{}{}", status.message(), hint(status.message()), status.detail()).c_str(),
      stderr);
  return exit_code(status);
}

int run_command(const Command& command, std::span<const std::string_view> words) {
  const std::vector<Flag> flags = all_flags(command);
  Result<Args> args = Args::parse(words, flags);
  if (!args.ok()) {
    if (std::ranges::find(words, "--json") != words.end()) print_error_json(args.status());
    const bool takes_words = command.operands.find("ARGS") != std::string_view::npos;
    const std::string text =
        fmt::format("spore {}: {} (see 'spore {} --help'{})\n", command.name, args.status().message(),
                    command.name, takes_words ? "; what stands behind '--' is no flag" : "");
    std::fputs(text.c_str(), stderr);
    return kMisused;
  }
  if (args->has("--help")) {
    print_help(command);
    return kDone;
  }
  const Result<int> code = command.run(args.value());
  return code.ok() ? code.value() : report(code.status(), args->has("--json"));
}

int run(std::span<const std::string_view> words) {
  if (words.empty()) {
    print_usage(stderr);
    return kMisused;
  }
  if (words[0] == "--help" || words[0] == "help") {
    print_usage(stdout);
    return kDone;
  }
  const std::string_view name = words[0] == "--version" ? "version" : words[0];
  for (const Command& command : commands()) {
    if (command.name == name) return run_command(command, words.subspan(1));
  }
  std::fputs(fmt::format("spore: there is no command '{}' (see 'spore --help')\n", words[0]).c_str(), stderr);
  return kMisused;
}

}  // namespace
}  // namespace spore::cli

int main(int argc, char** argv) {
  try {
    const std::vector<std::string_view> words(argv + 1, argv + argc);
    const int code = spore::cli::run(words);
    // A full disk behind standard output must not look like success.
    if (std::fflush(stdout) != 0 && code == 0) {
      std::perror("spore: writing to standard output");
      return spore::cli::kFailed;
    }
    return code;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "spore: internal error: %s\n", error.what());
    return spore::cli::kFailed;
  }
}
