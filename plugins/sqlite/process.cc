#include "plugins/sqlite/process.h"

#include <dlfcn.h>

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "plugins/sqlite/api.h"
#include "spore/base/log.h"
#include "spore/base/mutex.h"
#include "spore/runtime/options.h"

namespace spore::sqlite {

namespace {

struct Process {
  Mutex mutex;
  std::unique_ptr<runtime::Runtime> runtime SPORE_GUARDED_BY(mutex);
  std::unique_ptr<udf::Maker> maker SPORE_GUARDED_BY(mutex);
};

// The one global of the extension: a loaded library has no main that could hold it, and SQLite hands nothing
// from one connection to the next.
Process& process() {
  static Process* const kProcess = new Process;
  return *kProcess;
}

// Where this file is, the compile helper is, too: a program that loads extensions does not lie beside it.
std::filesystem::path helper_beside() {
  namespace fs = std::filesystem;
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&process_maker), &info) == 0 || info.dli_fname == nullptr)
    return {};
  std::error_code error;
  const fs::path folder = fs::canonical(info.dli_fname, error).parent_path();
  if (error) return {};
  constexpr const char* kHelper = "spore-compile";
  std::vector<fs::path> places;
  if (folder.filename() == "plugins")
    places.push_back(folder.parent_path() / "bin" / kHelper);  // as it is built
  if (folder.filename() == "sqlite" &&
      folder.parent_path().filename() == "spore") {  // PREFIX/lib[/TRIPLE]/spore/sqlite
    const fs::path lib = folder.parent_path().parent_path();
    for (const fs::path& prefix : {lib.parent_path(), lib.parent_path().parent_path()}) {
      places.push_back(prefix / "libexec" / "spore" / kHelper);
    }
  }
  for (const fs::path& place : places) {
    if (fs::is_regular_file(place, error)) return place;
  }
  return {};
}

}  // namespace

Result<udf::Maker*> process_maker() {
  Process& all = process();
  const MutexLock lock(all.mutex);
  if (all.maker == nullptr) {
    const std::filesystem::path home = runtime::default_home().value_or({});
    runtime::RuntimeOptions defaults;
    // Whose modules these are nobody knows; but a helper is not found by every program that loads this.
    defaults.compile_in = runtime::CompileIn::kHelperOrProcess;
    runtime::RuntimeOptions options = SPORE_TRY(runtime::home_options(home, std::move(defaults)));
    if (options.compile.helper.empty()) options.compile.helper = helper_beside();
    options.log = Log(LogLevel::kWarning, [](LogLevel /*level*/, std::string_view line) {
      sqlite3_log(SQLITE_WARNING, "spore: %.*s", static_cast<int>(line.size()), line.data());
    });
    all.runtime = SPORE_TRY(runtime::Runtime::create(std::move(options)));
    all.maker = std::make_unique<udf::Maker>(*all.runtime, udf::MakerOptions{.home = home});
  }
  return all.maker.get();
}

}  // namespace spore::sqlite
