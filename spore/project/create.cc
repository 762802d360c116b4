#include "spore/project/create.h"

#include <algorithm>
#include <array>
#include <span>
#include <system_error>
#include <vector>

#include "spore/base/fd.h"
#include "spore/base/utf8.h"
#include "spore/handler/language.h"
#include "spore/project/embedded.h"
#include "spore/wasm/wit.h"

namespace spore::project {

namespace fs = std::filesystem;

namespace {

// Names that a language keeps for itself, of such as WIT lets through.
constexpr std::array kRustWords{
    "abstract", "become",  "box",   "break", "const", "continue", "crate", "do",     "else",
    "false",    "final",   "fn",    "for",   "if",    "impl",     "in",    "let",    "loop",
    "macro",    "match",   "mod",   "move",  "mut",   "override", "priv",  "pub",    "ref",
    "return",   "self",    "super", "test",  "trait", "true",     "try",   "typeof", "unsafe",
    "unsized",  "virtual", "where", "while", "yield", "dyn",      "await", "gen"};
constexpr std::array kScriptWords{
    "abstract", "any",       "break",     "case",   "catch",  "class",      "const",   "continue", "debugger",
    "declare",  "default",   "delete",    "do",     "else",   "export",     "extends", "false",    "finally",
    "for",      "function",  "get",       "if",     "in",     "instanceof", "is",      "keyof",    "let",
    "module",   "namespace", "new",       "null",   "number", "of",         "private", "public",   "readonly",
    "return",   "set",       "super",     "switch", "symbol", "text",       "this",    "throw",    "true",
    "try",      "typeof",    "undefined", "var",    "void",   "while",      "yield"};

// A language of functions.
struct Template {
  std::string_view language;
  // What its projects are written with: where it is in the tree, and in the project.
  std::vector<std::pair<std::string_view, std::string_view>> beside;
  std::span<const char* const> words;
};

std::span<const Template> templates() {
  static const std::array kTemplates{
      Template{
          .language = "rust", .beside = {{"guests/wit/document.wit", "document.wit"}}, .words = kRustWords},
      Template{.language = "c", .beside = {{"guests/c/spore.h", "spore.h"}}, .words = {}},
      Template{.language = "go", .beside = {{"guests/go/spore/spore.go", "spore/spore.go"}}, .words = {}},
      Template{.language = "assemblyscript",
               .beside = {{"guests/assemblyscript/spore.ts", "spore.ts"},
                          {"guests/assemblyscript/spore.mjs", "spore.mjs"}},
               .words = kScriptWords},
  };
  return kTemplates;
}

void replace_all(std::string& text, std::string_view mark, std::string_view with) {
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + with.size()))
    text.replace(at, mark.size(), with);
}

Status write(const fs::path& path, std::string_view text, std::string_view name) {
  std::string filled(text);
  replace_all(filled, "@NAME@", name);
  replace_all(filled, "@IDENT@", snake_case(name));
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) return Status::from_errno(error.value(), path.parent_path().native());
  return write_file(path, {reinterpret_cast<const uint8_t*>(filled.data()), filled.size()});
}

std::string_view embedded(std::string_view path) {
  const std::span<const EmbeddedFile> files = embedded_files();
  const auto found = std::ranges::find(files, path, &EmbeddedFile::path);
  SPORE_ASSERT(found != files.end(), "an embedded file that is not there");
  return found->text;
}

// All embedded files below a folder.
Status write_all(std::string_view from, const fs::path& folder, std::string_view name) {
  for (const EmbeddedFile& file : embedded_files()) {
    if (!file.path.starts_with(from)) continue;
    SPORE_TRY(write(folder / file.path.substr(from.size()), file.text, name));
  }
  return {};
}

Status make_folder(const fs::path& folder) {
  std::error_code error;
  const bool made = fs::create_directory(folder, error);
  if (error && error != std::errc::file_exists) return Status::from_errno(error.value(), folder.native());
  if (!made) return Status::already_exists("{} is there already", folder.native());
  return {};
}

Status check_function_name(std::string_view name, const Template& of) {
  const Result<std::vector<wasm::WitExport>> parsed = wasm::parse_wit(fmt::format("{}: func();", name), "");
  if (!parsed.ok()) {
    return Status::invalid_argument(
        "'{}' is no name of a function in WIT (words of a-z and digits, each beginning with a letter, with "
        "single "
        "dashes between them; none of WIT's own)",
        printable(name));
  }
  if (std::ranges::find(of.words, snake_case(name)) != of.words.end()) {
    return Status::invalid_argument("'{}' is a word of {}'s own, and no name of a function", name,
                                    of.language);
  }
  return {};
}

}  // namespace

std::string kebab_case(std::string_view name) {
  std::string made(name);
  std::ranges::replace(made, '_', '-');
  return made;
}

std::string snake_case(std::string_view name) {
  std::string made(name);
  std::ranges::replace(made, '-', '_');
  return made;
}

std::string language_names() {
  std::string names = handler::language_names();
  for (const Template& each : templates()) names += fmt::format(", {}", each.language);
  return names;
}

Result<Created> create(std::string_view language, const fs::path& folder) {
  const std::string name = folder.filename().native();
  if (name.empty() || name == "." || name == "..") {
    return Status::invalid_argument("'{}' is no name for a project", folder.native());
  }
  if (const Result<const handler::Language*> handler = handler::find_language(language); handler.ok()) {
    SPORE_TRY(make_folder(folder));
    SPORE_TRY(write_all(fmt::format("spore/handler/{}/project/", language), folder, name));
    return Created{.kind = Kind::kHandler, .name = name};
  }
  const auto found = std::ranges::find(templates(), language, &Template::language);
  if (found == templates().end()) {
    return Status::invalid_argument("no language '{}' (there are: {})", printable(language),
                                    language_names());
  }
  const std::string wit_name = kebab_case(name);
  SPORE_TRY(check_function_name(wit_name, *found));
  SPORE_TRY(make_folder(folder));
  SPORE_TRY(write_all(fmt::format("guests/templates/{}/", language), folder, wit_name));
  for (const auto& [from, to] : found->beside) SPORE_TRY(write(folder / to, embedded(from), wit_name));
  return Created{.kind = Kind::kFunction, .name = wit_name};
}

}  // namespace spore::project
