#include "spore/handler/handler.h"

#include <algorithm>
#include <array>
#include <system_error>
#include <utility>
#include <vector>

#include "spore/base/fd.h"
#include "spore/base/json.h"
#include "spore/base/utf8.h"

namespace spore::handler {

namespace fs = std::filesystem;

namespace {

void begin_setup(JsonWriter& json, std::string_view file, std::string_view source, bool packages) {
  json.begin_object().field("file", file).field("source", source).begin_array("path");
  if (packages) json.element(kGuestPackages);
  json.end_array();
}

Status check_file(const fs::path& directory, const fs::path& file) {
  constexpr std::array<std::string_view, 3> kNative{".so", ".pyd", ".dylib"};
  const std::string ending = file.extension().native();
  const fs::path inside = file.lexically_relative(directory);
  if (std::ranges::find(kNative, ending) != kNative.end()) {
    return Status::unsupported(
        "package '{}' has native code, which this Python cannot load: {} (use a package that is all Python)",
        printable(inside.begin()->stem().native()), printable(inside.native()));
  }
  if (ending == ".whl") {
    return Status::unsupported("wheel '{}' is not unpacked (pip install --target DIR does that)",
                               printable(inside.native()));
  }
  return {};
}

}  // namespace

std::string handler_setup(std::string_view file, std::string_view source, bool packages) {
  JsonWriter json;
  begin_setup(json, file, source, packages);
  json.end_object();
  return json.take();
}

std::string function_setup(const FunctionSource& function) {
  JsonWriter json;
  begin_setup(json, function.file, function.source, function.packages_mounted);
  json.begin_object("function").field("name", function.name).field("kind", function.kind);
  json.field("parameters", function.parameters).begin_array("bytes");
  for (const size_t index : function.bytes) json.element(index);
  json.end_array().end_object().end_object();
  return json.take();
}

Status check_packages(const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    if (error) return Status::from_errno(error.value(), directory.native());
    return Status::invalid_argument("{} is no directory", directory.native());
  }
  fs::recursive_directory_iterator at(directory, error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    SPORE_TRY(check_file(directory, at->path()).with_context(directory.native()));
  }
  return error ? Status::from_errno(error.value(), directory.native()) : Status();
}

Result<Handler> runner_of(const Language& language, const HandlerOptions& options) {
  Handler handler;
  handler.language = &language;
  handler.world.args = language.args(language.runner);
  if (options.site_packages.empty()) return handler;
  if (language.name != "python") return Status::invalid_argument("packages are for python alone");
  SPORE_TRY(check_packages(options.site_packages));
  handler.world.directories.push_back(
      {.host = options.site_packages.native(), .guest = std::string(kGuestPackages)});
  return handler;
}

Result<Handler> read_handler(const fs::path& file, const HandlerOptions& options) {
  const Language* language = language_of(file);
  if (language == nullptr) {
    return Status::invalid_argument("{}: handlers are files of one of: {}", file.native(), language_names());
  }
  const std::vector<uint8_t> bytes = SPORE_TRY(read_file(file, kSourceBytesMax));
  const std::string_view source(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!is_utf8(source)) return Status::invalid_argument("{} is no UTF-8", file.native());
  Result<Handler> handler = runner_of(*language, options);
  if (!handler.ok()) return std::move(handler).status().with_context(file.native());
  handler->setup = handler_setup(file.filename().native(), source,
                                 options.packages_mounted || !options.site_packages.empty());
  return handler;
}

}  // namespace spore::handler
