#include "apps/spore/world.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

namespace spore::cli {
namespace {

// HOST, HOST::GUEST, either with :rw or :ro behind it.
host::WasiDirectory parse_directory(std::string_view text) {
  host::WasiDirectory directory;
  if (text.ends_with(":rw") || text.ends_with(":ro")) {
    directory.writable = text.ends_with(":rw");
    text.remove_suffix(3);
  }
  const size_t separator = text.find("::");
  directory.host = text.substr(0, separator);
  directory.guest = separator == std::string_view::npos ? text : text.substr(separator + 2);
  return directory;
}

Result<std::string> parse_variable(std::string_view text) {
  if (text.find('=') != std::string_view::npos) return std::string(text);
  const std::string name(text);
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return Status::invalid_argument("--env {}: there is no such variable here", name);
  return fmt::format("{}={}", name, value);
}

}  // namespace

Result<host::WasiOptions> world_options(const Args& args, std::string_view file,
                                        std::span<const std::string_view> words) {
  host::WasiOptions options;
  options.args.push_back(std::filesystem::path(file).filename().native());
  for (const std::string_view arg : args.values_of("--arg")) options.args.emplace_back(arg);
  options.args.insert(options.args.end(), words.begin(), words.end());
  for (const std::string_view text : args.values_of("--env")) {
    std::string variable = SPORE_TRY(parse_variable(text));
    options.env.push_back(std::move(variable));
  }
  for (const std::string_view text : args.values_of("--dir")) {
    options.directories.push_back(parse_directory(text));
  }
  return options;
}

}  // namespace spore::cli
