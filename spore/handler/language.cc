#include "spore/handler/language.h"

#include <algorithm>
#include <array>

#include "spore/base/utf8.h"
#include "spore/handler/embedded.h"

namespace spore::handler {
namespace {

std::string_view embedded(std::string_view path) {
  const std::span<const EmbeddedFile> files = embedded_files();
  const auto found = std::ranges::find(files, path, &EmbeddedFile::path);
  SPORE_ASSERT(found != files.end(), "an embedded file that is not there");
  return found->text;
}

// Without a look at the working directory for modules, and without writing compiled ones.
std::vector<std::string> python_args(std::string_view runner) {
  return {"python", "-B", "-P", "-c", std::string(runner)};
}

// Their runners are parts of the modules.
std::vector<std::string> javascript_args(std::string_view /*runner*/) { return {"javascript"}; }
std::vector<std::string> ruby_args(std::string_view /*runner*/) { return {"ruby"}; }

}  // namespace

std::span<const Language> languages() {
  static const std::array kLanguages{
      Language{.name = "python",
               .ending = ".py",
               .runtime = "python.wasm",
               .runner = embedded("python/runner.py"),
               .args = &python_args},
      Language{.name = "ruby", .ending = ".rb", .runtime = "ruby.wasm", .runner = {}, .args = &ruby_args},
      Language{.name = "javascript",
               .ending = ".js",
               .runtime = "javascript.wasm",
               .runner = {},
               .args = &javascript_args},
  };
  return kLanguages;
}

std::string language_names() {
  std::string names;
  for (const Language& language : languages())
    names += fmt::format("{}{}", names.empty() ? "" : ", ", language.name);
  return names;
}

Result<const Language*> find_language(std::string_view name) {
  const std::span<const Language> all = languages();
  const auto found = std::ranges::find(all, name, &Language::name);
  if (found != all.end()) return &*found;
  return Status::invalid_argument("no language '{}' (there are: {})", printable(name), language_names());
}

const Language* language_of(const std::filesystem::path& file) {
  const std::span<const Language> all = languages();
  const std::string ending = file.extension().native();
  const auto found = std::ranges::find(all, ending, &Language::ending);
  return found == all.end() ? nullptr : &*found;
}

}  // namespace spore::handler
