#pragma once

// A Runtime that makes functions, with the runtimes that tools/guests.sh has built and the code cache that
// all tests of them share.

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "spore/runtime/runtime.h"
#include "spore/udf/maker.h"
#include "tests/process.h"

namespace spore::test {

struct Functions {
  explicit Functions(runtime::RuntimeOptions options = {}, const udf::MemoOptions& memo = {}) {
    std::error_code none;  // then a test of programs says what it misses
    std::filesystem::create_directory_symlink(SPORE_SOURCE_DIR "/build/guests", home.path() / "runtimes",
                                              none);
    options.compile_in = runtime::CompileIn::kHelper;
    options.compile.helper = SPORE_COMPILE_HELPER;
    options.code_cache = code::code_cache_options(SPORE_SOURCE_DIR "/build/handlers");
    runtime = runtime::Runtime::create(std::move(options)).value();
    maker = std::make_unique<udf::Maker>(*runtime, udf::MakerOptions{.home = home.path(), .memo = memo});
  }
  // Modules of the guests by language; empty: tools/guests.sh has not built it.
  static std::vector<uint8_t> built(std::string_view folder, std::string_view language) {
    constexpr size_t kBytesMax = size_t{64} << 20;
    auto bytes =
        read_file(fmt::format(SPORE_SOURCE_DIR "/build/guests/{}/{}.wasm", folder, language), kBytesMax);
    return bytes.ok() ? std::move(bytes).value() : std::vector<uint8_t>();
  }
  static std::vector<uint8_t> source(std::string_view file) {
    constexpr size_t kBytesMax = size_t{1} << 20;
    return read_file(fmt::format(SPORE_SOURCE_DIR "/{}", file), kBytesMax).value();
  }

  TemporaryFolder home;
  std::unique_ptr<runtime::Runtime> runtime;
  std::unique_ptr<udf::Maker> maker;
};

}  // namespace spore::test
