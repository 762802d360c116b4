#include "spore/handler/project.h"

#include <string>
#include <system_error>

#include "spore/base/fd.h"
#include "spore/handler/embedded.h"

namespace spore::handler {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kNameMark = "@NAME@";

std::string with_name(std::string_view text, std::string_view name) {
  std::string made(text);
  for (size_t at = made.find(kNameMark); at != std::string::npos; at = made.find(kNameMark, at + name.size()))
    made.replace(at, kNameMark.size(), name);
  return made;
}

}  // namespace

Status create_project(const Language& language, const fs::path& folder) {
  const std::string name = folder.filename().native();
  if (name.empty() || name == "." || name == "..") {
    return Status::invalid_argument("'{}' is no name for a project", folder.native());
  }
  std::error_code error;
  const bool made = fs::create_directory(folder, error);
  if (error && error != std::errc::file_exists) return Status::from_errno(error.value(), folder.native());
  if (!made) return Status::already_exists("{} is there already", folder.native());
  const std::string prefix = fmt::format("{}/project/", language.name);
  for (const EmbeddedFile& file : embedded_files()) {
    if (!file.path.starts_with(prefix)) continue;
    const std::string text = with_name(file.text, name);
    SPORE_TRY(write_file(folder / file.path.substr(prefix.size()),
                         {reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
  }
  return {};
}

}  // namespace spore::handler
