#include "spore/code/helper_path.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

namespace spore::code {
namespace {

constexpr const char* kHelperName = "spore-compile";

std::vector<std::filesystem::path> default_places() {
  std::vector<std::filesystem::path> places;
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    const std::filesystem::path folder = self.parent_path();
    places.push_back(folder / kHelperName);
    places.push_back(folder.parent_path() / "libexec" / "spore" / kHelperName);
  }
  places.push_back(std::filesystem::path(SPORE_LIBEXEC_DIR) / kHelperName);
  return places;
}

}  // namespace

std::string why_not_executable(const std::filesystem::path& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0 || ::access(path.c_str(), X_OK) != 0) return std::strerror(errno);
  return S_ISREG(info.st_mode) ? "" : "not a file";
}

Result<std::filesystem::path> find_helper(const std::filesystem::path& wanted) {
  if (!wanted.empty()) {
    const std::string wrong = why_not_executable(wanted);
    if (wrong.empty()) return wanted;
    return Status::unavailable("the compile helper '{}' cannot be started: {} (compile_helper={})",
                               wanted.native(), wrong, wanted.native());
  }
  std::string tried;
  for (const std::filesystem::path& place : default_places()) {
    if (why_not_executable(place).empty()) return place;
    tried += fmt::format("{}'{}'", tried.empty() ? "" : ", ", place.native());
  }
  return Status::unavailable("there is no compile helper at {}: name it (compile_helper=PATH)", tried);
}

}  // namespace spore::code
