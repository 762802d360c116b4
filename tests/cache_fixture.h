#pragma once

// What the tests of the code cache share.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/mutex.h"
#include "spore/code/code_cache.h"
#include "spore/code/key_file.h"
#include "spore/engine/ticker.h"
#include "tests/process.h"

namespace spore::code {

// A tiny module whose function gives `answer`; each answer is another module.
inline std::vector<uint8_t> module_of(int answer) {
  return engine::text_to_wasm(fmt::format("(module (func (export \"f\") (result i32) i32.const {}))", answer))
      .value();
}

inline std::shared_ptr<const engine::Engine> make_engine(const engine::EngineOptions& options = {}) {
  return engine::Engine::create(options, std::make_shared<engine::Ticker>()).value();
}

class CacheFixture : public testing::Test {
 protected:
  struct Made {
    std::vector<uint8_t> wasm;
    Source source;
    Compiled compiled;
  };

  Made make(int answer) const { return make(answer, *engine_); }
  static Made make(int answer, const engine::Engine& engine) {
    Made made;
    made.wasm = module_of(answer);
    made.source = {.wasm = made.wasm, .hash = sha256(made.wasm)};
    made.compiled.code = engine.compile(made.wasm).value();
    return made;
  }

  std::filesystem::path home() const { return folder_.path() / "home"; }
  std::filesystem::path directory() const { return home() / "code"; }
  std::filesystem::path key_file() const { return home() / "code.key"; }
  std::filesystem::path file_of(const Source& source) const {
    return directory() / code_file_name(cache_key(*engine_, source));
  }

  Log log() {
    return Log(LogLevel::kInfo, [this](LogLevel, std::string_view line) {
      const MutexLock lock(mutex_);
      lines_.emplace_back(line);
    });
  }
  CodeCacheOptions options() {
    CodeCacheOptions options = code_cache_options(home());
    options.log = log();
    return options;
  }
  std::unique_ptr<CodeCache> open() { return CodeCache::open(options()); }

  std::vector<std::string> lines() {
    const MutexLock lock(mutex_);
    return lines_;
  }

  // Names in the cache's directory that end so.
  size_t count(std::string_view suffix) const {
    size_t found = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory())) {
      if (entry.path().native().ends_with(suffix)) found++;
    }
    return found;
  }

  static std::vector<uint8_t> read(const std::filesystem::path& path) {
    return read_file(path, size_t{1} << 30).value();
  }
  // In place, without a sync: some tests do it a hundred thousand times.
  static void write(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    ASSERT_EQ(::write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }

  // The call still answers: from the cache, or compiled and stored anew.  True if it was the cache.
  bool answers(CodeCache& cache, const Made& made) const {
    const Cached cached = cache.load(*engine_, made.source);
    if (cached) {
      EXPECT_EQ(cached.code->module_hash(), made.source.hash);
      EXPECT_NE(cached.code->exported_function("f"), nullptr);
      return true;
    }
    const auto compiled = engine_->compile(made.wasm);
    EXPECT_TRUE(compiled.ok());
    EXPECT_NE(compiled.value()->exported_function("f"), nullptr);
    return false;
  }

  // It was refused for that cause once more, and the log has one line of it.
  void expect_fault(const CodeCache& cache, CacheFault fault, uint64_t times = 1) {
    const CodeCacheStatistics statistics = cache.statistics();
    for (size_t i = 0; i < kCacheFaults; i++) {
      const auto other = static_cast<CacheFault>(i);
      EXPECT_EQ(statistics.faults_of(other), other == fault ? times : 0) << cache_fault_name(other);
    }
    const std::string name = fmt::format("({}; said once)", cache_fault_name(fault));
    const std::vector<std::string> said = lines();
    EXPECT_EQ(said.size(), 1u) << testing::PrintToString(said);
    EXPECT_NE(testing::PrintToString(said).find(name), std::string::npos) << testing::PrintToString(said);
  }

  test::TemporaryFolder folder_;
  std::shared_ptr<const engine::Engine> engine_ = make_engine();

 private:
  Mutex mutex_;
  std::vector<std::string> lines_ SPORE_GUARDED_BY(mutex_);
};

}  // namespace spore::code
