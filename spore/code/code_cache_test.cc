#include "spore/code/code_cache.h"

#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <thread>

#include <gtest/gtest.h>

#include "spore/base/memfd.h"
#include "spore/code/temporary_file.h"
#include "tests/cache_fixture.h"
#include "tests/child.h"
#include "tests/json_check.h"
#include "tests/sanitizers.h"

namespace spore::code {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kCompileNs = 123'000'000;

class CodeCacheTest : public CacheFixture {
 protected:
  // A cache in which that module is, with its file.
  void store(CodeCache& cache, const Made& made) const {
    ASSERT_TRUE(cache.store(*engine_, made.source, made.compiled, kCompileNs));
  }
};

// --- what it is for --------------------------------------------------------------------------------------

TEST_F(CodeCacheTest, WhatWasStoredIsLoadedByTheNextProcess) {
  const Made made = make(1);
  {
    const auto cache = open();
    EXPECT_EQ(cache->state(), CodeCacheState::kOn);
    EXPECT_FALSE(cache->load(*engine_, made.source));
    store(*cache, made);
    const CodeCacheStatistics statistics = cache->statistics();
    EXPECT_EQ(statistics.counts.misses, 1u);
    EXPECT_EQ(statistics.counts.stored, 1u);
    EXPECT_EQ(statistics.files, 1u);
    EXPECT_EQ(statistics.bytes, fs::file_size(file_of(made.source)));
    EXPECT_EQ(statistics.counts.bytes_stored, statistics.bytes);
  }
  const auto cache = open();
  const Cached cached = cache->load(*engine_, made.source);
  ASSERT_TRUE(cached);
  EXPECT_EQ(cached.compile_ns, kCompileNs);
  EXPECT_GT(cached.load_ns, 0u);
  EXPECT_EQ(cached.code->module_hash(), made.source.hash);
  EXPECT_EQ(cached.code->native().value(), made.compiled.code->native().value());
  const CodeCacheStatistics statistics = cache->statistics();
  EXPECT_EQ(statistics.counts.hits, 1u);
  EXPECT_EQ(statistics.counts.compile_saved_ns, kCompileNs);
  EXPECT_TRUE(lines().empty());
}

TEST_F(CodeCacheTest, CodeThatCameAsAFileIsStoredFromIt) {
  Made made = make(1);
  made.compiled.native = make_memfd("test").value();
  const std::vector<uint8_t> native = made.compiled.code->native().value();
  ASSERT_TRUE(write_at(made.compiled.native.get(), native, 0).ok());
  ASSERT_TRUE(seal(made.compiled.native.get()).ok());
  made.compiled.code.reset();
  const auto cache = open();
  store(*cache, made);
  const Cached cached = cache->load(*engine_, made.source);
  ASSERT_TRUE(cached);
  EXPECT_EQ(cached.code->native().value(), native);
}

// Each of what the code depends on makes another key.
TEST_F(CodeCacheTest, TheKeyIsOfModulePreparerTierAndOptions) {
  const std::vector<uint8_t> one = module_of(1);
  const std::vector<uint8_t> two = module_of(2);
  std::vector<Digest> keys{
      cache_key(*engine_, {.wasm = one, .hash = sha256(one)}),
      cache_key(*engine_, {.wasm = two, .hash = sha256(two)}),
      cache_key(*engine_, {.wasm = one, .hash = sha256(one), .preparer = 1}),
  };
  for (const engine::EngineOptions& options :
       {engine::EngineOptions{.tier = engine::Tier::kBaseline}, engine::EngineOptions{.fuel = true},
        engine::EngineOptions{.wasm_stack_bytes = 256 * 1024},
        engine::EngineOptions{.compact_memories = true}, engine::EngineOptions{.compact_code = true}}) {
    keys.push_back(cache_key(*make_engine(options), {.wasm = one, .hash = sha256(one)}));
  }
  std::ranges::sort(keys);
  EXPECT_EQ(std::ranges::adjacent_find(keys), keys.end());
  // How many threads compile changes nothing of what comes out.
  EXPECT_EQ(cache_key(*make_engine({.parallel_compile = true}), {.wasm = one, .hash = sha256(one)}),
            cache_key(*make_engine(), {.wasm = one, .hash = sha256(one)}));
}

TEST_F(CodeCacheTest, EachTierHasItsOwnCode) {
  const auto baseline = make_engine({.tier = engine::Tier::kBaseline});
  const Made made = make(1);
  const auto cache = open();
  store(*cache, made);
  EXPECT_FALSE(cache->load(*baseline, made.source));
  const Made other = make(1, *baseline);
  ASSERT_TRUE(cache->store(*baseline, other.source, other.compiled, kCompileNs));
  EXPECT_EQ(&cache->load(*baseline, made.source).code->engine(), baseline.get());
  EXPECT_EQ(&cache->load(*engine_, made.source).code->engine(), engine_.get());
}

// --- files that are not as they were written -------------------------------------------------------------

// Goal: no byte of a file is believed unless it is the one that was written.  Method: each byte is changed,
// in one bit that depends on its place, and loaded.
TEST_F(CodeCacheTest, EveryFlippedByteIsRefused) {
  const Made made = make(1);
  const auto cache = open();
  store(*cache, made);
  const fs::path file = file_of(made.source);
  const std::vector<uint8_t> good = read(file);
  ASSERT_LT(good.size(), 100'000u);
  std::vector<uint8_t> bad = good;
  for (size_t i = 0; i < good.size(); i++) {
    bad[i] ^= static_cast<uint8_t>(1u << (i % 8));
    write(file, bad);
    ASSERT_FALSE(cache->load(*engine_, made.source)) << "byte " << i;
    ASSERT_FALSE(fs::exists(file)) << "byte " << i;
    bad[i] = good[i];
  }
  const CodeCacheStatistics statistics = cache->statistics();
  EXPECT_EQ(statistics.counts.misses, good.size());
  EXPECT_EQ(statistics.counts.removed, good.size());
  EXPECT_EQ(statistics.counts.hits, 0u);
  EXPECT_EQ(statistics.faults_of(CacheFault::kFormat), 11u);  // magic; the tier, of which three are known
  EXPECT_EQ(statistics.faults_of(CacheFault::kVersion), 4u);
  EXPECT_EQ(statistics.faults_of(CacheFault::kTruncated), 12u);  // both lengths
  EXPECT_EQ(statistics.faults_of(CacheFault::kMisnamed), 32u);
  EXPECT_EQ(statistics.faults_of(CacheFault::kMac), good.size() - 11 - 4 - 12 - 32);
  EXPECT_EQ(lines().size(), 5u) << "each cause once";
  // And it was the byte: the same file, whole, is loaded.
  write(file, good);
  EXPECT_TRUE(cache->load(*engine_, made.source));
}

TEST_F(CodeCacheTest, EveryTruncationIsRefused) {
  const Made made = make(1);
  const auto cache = open();
  store(*cache, made);
  const fs::path file = file_of(made.source);
  const std::vector<uint8_t> good = read(file);
  for (size_t length = 0; length < good.size(); length++) {
    write(file, std::span(good).first(length));
    ASSERT_FALSE(cache->load(*engine_, made.source)) << length;
    ASSERT_FALSE(fs::exists(file)) << length;
  }
  std::vector<uint8_t> longer = good;
  longer.push_back(0);
  write(file, longer);
  EXPECT_FALSE(cache->load(*engine_, made.source));
  expect_fault(*cache, CacheFault::kTruncated, good.size() + 1);
}

// Pieces are authenticated one by one: none may stand in another's place.
TEST_F(CodeCacheTest, ALargeFileIsReadByThreadsAndNoPieceCanBeMoved) {
  constexpr size_t kPieceBytes = 256 * 1024;
  constexpr size_t kPayloadBytes = 40 * kPieceBytes + 17;
  static_cast<void>(open());  // makes directory and key
  const MacKey key = open_key_file(key_file()).value();
  std::vector<uint8_t> payload(kPayloadBytes);
  for (size_t i = 0; i < payload.size(); i++) payload[i] = static_cast<uint8_t>(i / kPieceBytes + i % 251);
  const UniqueFd file = make_memfd("file").value();
  const CacheHeader header{.payload_bytes = kPayloadBytes, .made_by = "test"};
  ASSERT_TRUE(write_cache_file(file.get(), header, {.bytes = payload}, key).ok());
  std::vector<uint8_t> begin(kCacheHeaderBytesMax);
  ASSERT_TRUE(read_at(file.get(), begin, 0).ok());
  const CacheHeader written = decode_cache_header(begin, file_size(file.get()).value()).value();
  const uint64_t payload_at = written.file_bytes() - kPayloadBytes;
  for (const unsigned threads : {1u, 2u, 3u, 100u}) {
    const UniqueFd copy = make_memfd("copy").value();
    ASSERT_TRUE(check_cache_file(file.get(), written, key, copy.get(), threads).ok()) << threads;
    std::vector<uint8_t> copied(kPayloadBytes);
    ASSERT_TRUE(read_at(copy.get(), copied, 0).ok());
    EXPECT_EQ(copied, payload);
    EXPECT_EQ(file_size(copy.get()).value(), kPayloadBytes);
  }
  const auto check = [&] { return check_cache_file(file.get(), written, key, -1, 2); };
  const std::span<const uint8_t> first = std::span(payload).first(kPieceBytes);
  const std::span<const uint8_t> second = std::span(payload).subspan(kPieceBytes, kPieceBytes);
  ASSERT_TRUE(write_at(file.get(), second, payload_at).ok());
  ASSERT_TRUE(write_at(file.get(), first, payload_at + kPieceBytes).ok());
  EXPECT_EQ(cache_fault(check(), CacheFault::kRead), CacheFault::kMac);
  ASSERT_TRUE(write_at(file.get(), payload, payload_at).ok());
  EXPECT_TRUE(check().ok());
  // The last byte of each piece.
  for (size_t at = kPieceBytes - 1; at < payload.size(); at += kPieceBytes) {
    const std::array<uint8_t, 1> bad{static_cast<uint8_t>(payload[at] ^ 1)};
    ASSERT_TRUE(write_at(file.get(), bad, payload_at + at).ok());
    EXPECT_EQ(cache_fault(check(), CacheFault::kRead), CacheFault::kMac) << at;
    ASSERT_TRUE(write_at(file.get(), std::span(payload).subspan(at, 1), payload_at + at).ok());
  }
  ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(payload_at + kPayloadBytes - 1)), 0);
  EXPECT_EQ(cache_fault(check(), CacheFault::kMac), CacheFault::kRead)
      << "it shrank after its header was read";
}

TEST_F(CodeCacheTest, AnotherKeyMakesAllFilesWorthless) {
  const Made made = make(1);
  store(*open(), made);
  fs::remove(key_file());
  const auto cache = open();
  EXPECT_FALSE(answers(*cache, made));
  expect_fault(*cache, CacheFault::kMac);
  EXPECT_FALSE(fs::exists(file_of(made.source)));
  store(*cache, made);
  EXPECT_TRUE(answers(*cache, made));
}

TEST_F(CodeCacheTest, TheSameCodeIsWrittenUnderAnotherSaltEachTime) {
  const Made made = make(1);
  const auto cache = open();
  store(*cache, made);
  const std::vector<uint8_t> first = read(file_of(made.source));
  store(*cache, made);
  const std::vector<uint8_t> second = read(file_of(made.source));
  const auto salt = [](const std::vector<uint8_t>& bytes) {
    return decode_cache_header(bytes, bytes.size())->salt;
  };
  EXPECT_NE(salt(first), salt(second));
}

TEST_F(CodeCacheTest, AFileUnderAnotherNameIsRefused) {
  const Made one = make(1);
  const Made two = make(2);
  const auto cache = open();
  store(*cache, one);
  fs::rename(file_of(one.source), file_of(two.source));
  EXPECT_FALSE(answers(*cache, two));
  expect_fault(*cache, CacheFault::kMisnamed);
  EXPECT_FALSE(fs::exists(file_of(two.source)));
}

// What another version of the engine or another processor has made has another name.  Here such a file is put
// in the place of the right one, authentic as it is.
TEST_F(CodeCacheTest, AnAuthenticFileOfAnotherEngineIsRefused) {
  const Made made = make(1);
  const auto cache = open();
  const CacheDirectory directory = CacheDirectory::open(this->directory(), false).value();
  const MacKey key = open_key_file(key_file()).value();
  CacheHeader header{
      .key = cache_key(*engine_, made.source), .module_hash = made.source.hash, .made_by = "wasmtime 1"};
  const std::vector<uint8_t> native = made.compiled.code->native().value();
  ASSERT_TRUE(directory.write_file(header, {.bytes = native}, key).ok());
  EXPECT_FALSE(answers(*cache, made));
  expect_fault(*cache, CacheFault::kEngine);

  // The engine's own check: code that was compiled with other settings, under the right description.
  header.made_by = engine_->description(made.source.preparer);
  const auto other = make_engine({.fuel = true});
  const std::vector<uint8_t> foreign = make(1, *other).compiled.code->native().value();
  ASSERT_TRUE(directory.write_file(header, {.bytes = foreign}, key).ok());
  EXPECT_FALSE(answers(*cache, made));
  expect_fault(*cache, CacheFault::kEngine, 2);
  // Bytes that are no code at all.
  ASSERT_TRUE(directory.write_file(header, {.bytes = made.wasm}, key).ok());
  EXPECT_FALSE(answers(*cache, made));
  ASSERT_TRUE(directory.write_file(header, {}, key).ok());
  EXPECT_FALSE(answers(*cache, made));
  expect_fault(*cache, CacheFault::kEngine, 4);
  // Code that says it needs a processor which has something that this one lacks.
  std::vector<uint8_t> other_processor = native;
  constexpr std::string_view kFeature = "has_avx2";
  const auto feature = std::ranges::search(other_processor, kFeature);
  if (!feature.empty()) {
    feature.back() = '9';
    ASSERT_TRUE(directory.write_file(header, {.bytes = other_processor}, key).ok());
    EXPECT_FALSE(answers(*cache, made));
    expect_fault(*cache, CacheFault::kEngine, 5);
  }
  EXPECT_FALSE(fs::exists(file_of(made.source)));
  // And it was not the way it was written.
  ASSERT_TRUE(directory.write_file(header, {.bytes = native}, key).ok());
  EXPECT_TRUE(answers(*cache, made));
}

TEST_F(CodeCacheTest, AFileOfAnotherVersionIsRefusedAndReplaced) {
  const Made made = make(1);
  const auto cache = open();
  store(*cache, made);
  std::vector<uint8_t> bytes = read(file_of(made.source));
  constexpr size_t kVersionAt = 8;
  bytes[kVersionAt] = kCacheFileVersion + 1;
  write(file_of(made.source), bytes);
  EXPECT_FALSE(answers(*cache, made));
  expect_fault(*cache, CacheFault::kVersion);
  store(*cache, made);
  EXPECT_TRUE(answers(*cache, made));
}

// --- other things in a file's place ----------------------------------------------------------------------

TEST_F(CodeCacheTest, ASymlinkInAFilesPlaceIsNotFollowedAndReplaced) {
  const Made made = make(1);
  const auto cache = open();
  store(*cache, made);
  const fs::path file = file_of(made.source);
  const fs::path target = folder_.path() / "target";
  fs::rename(file, target);
  const std::vector<uint8_t> content = read(target);
  fs::create_symlink(target, file);
  EXPECT_FALSE(answers(*cache, made));
  expect_fault(*cache, CacheFault::kForeign);
  EXPECT_TRUE(fs::is_symlink(file)) << "only regular files are removed";
  store(*cache, made);
  EXPECT_FALSE(fs::is_symlink(file));
  EXPECT_EQ(read(target), content) << "it was written through the link";
  EXPECT_TRUE(answers(*cache, made));
}

TEST_F(CodeCacheTest, ADirectoryOrAFifoInAFilesPlaceIsRefused) {
  const Made made = make(1);
  const auto cache = open();
  const fs::path file = file_of(made.source);
  ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
  EXPECT_FALSE(answers(*cache, made));
  expect_fault(*cache, CacheFault::kForeign);
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_FALSE(answers(*cache, made));
  expect_fault(*cache, CacheFault::kForeign, 2);
  EXPECT_FALSE(cache->store(*engine_, made.source, made.compiled, kCompileNs));
  EXPECT_EQ(cache->statistics().faults_of(CacheFault::kWrite), 1u);
  EXPECT_EQ(count(".tmp"), 0u);
}

TEST_F(CodeCacheTest, AFileThatOthersCanWriteToIsRefusedAndRemoved) {
  const Made made = make(1);
  const auto cache = open();
  for (const mode_t mode : {0620U, 0602U}) {
    store(*cache, made);
    ASSERT_EQ(::chmod(file_of(made.source).c_str(), mode), 0);
    EXPECT_FALSE(answers(*cache, made));
    EXPECT_FALSE(fs::exists(file_of(made.source)));
  }
  expect_fault(*cache, CacheFault::kForeign, 2);
  // Others may read it: it has no secrets.
  store(*cache, made);
  ASSERT_EQ(::chmod(file_of(made.source).c_str(), 0444), 0);
  EXPECT_TRUE(answers(*cache, made));
}

TEST_F(CodeCacheTest, AFileOfAnotherUserIsRefusedAndLeftAlone) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  const Made made = make(1);
  const auto cache = open();
  store(*cache, made);
  ASSERT_EQ(::chown(file_of(made.source).c_str(), 65534, 65534), 0);
  EXPECT_FALSE(answers(*cache, made));
  expect_fault(*cache, CacheFault::kForeign);
  EXPECT_TRUE(fs::exists(file_of(made.source)));
  store(*cache, made);
  EXPECT_TRUE(answers(*cache, made));
}

// --- directory and key -----------------------------------------------------------------------------------

// A cache that is off gives nothing, takes nothing, and the call is answered.
class UnfitTest : public CodeCacheTest {
 protected:
  void expect_off(CacheFault fault) {
    const auto cache = open();
    EXPECT_EQ(cache->state(), CodeCacheState::kOff);
    const Made made = make(1);
    EXPECT_FALSE(answers(*cache, made));
    EXPECT_FALSE(cache->store(*engine_, made.source, made.compiled, kCompileNs));
    EXPECT_FALSE(cache->flight(*engine_, made.source, std::chrono::milliseconds(0), {}).held());
    EXPECT_FALSE(answers(*cache, made));
    EXPECT_EQ(cache->statistics().counts.misses, 2u);
    EXPECT_FALSE(cache->statistics().reason.empty());
    expect_fault(*cache, fault);
  }
};

TEST_F(UnfitTest, ADirectoryThatIsASymlinkIsRefused) {
  fs::create_directories(folder_.path() / "elsewhere");
  fs::create_directories(home());
  fs::create_directory_symlink(folder_.path() / "elsewhere", directory());
  expect_off(CacheFault::kDirectory);
  EXPECT_TRUE(fs::is_empty(folder_.path() / "elsewhere"));
}

TEST_F(UnfitTest, NotEvenWithASlashBehindItsName) {
  fs::create_directories(folder_.path() / "elsewhere");
  fs::create_directories(home());
  fs::create_directory_symlink(folder_.path() / "elsewhere", directory());
  EXPECT_EQ(CacheDirectory::open(directory().native() + "/", true).code(), Code::kUnavailable);
}

TEST_F(UnfitTest, ADirectoryThatOthersCanWriteToIsRefused) {
  fs::create_directories(directory());
  ASSERT_EQ(::chmod(directory().c_str(), 0777), 0);
  expect_off(CacheFault::kDirectory);
}

TEST_F(UnfitTest, ADirectoryOfAnotherUserIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give directories away";
  fs::create_directories(directory());
  ASSERT_EQ(::chmod(directory().c_str(), 0755), 0);
  ASSERT_EQ(::chown(directory().c_str(), 65534, 65534), 0);
  expect_off(CacheFault::kDirectory);
}

TEST_F(UnfitTest, AFileInTheDirectorysPlaceIsRefused) {
  fs::create_directories(home());
  write(directory(), {});
  expect_off(CacheFault::kDirectory);
}

TEST_F(UnfitTest, AFileOnTheWayToItIsRefused) {
  write(home(), {});
  expect_off(CacheFault::kDirectory);
}

TEST_F(UnfitTest, AKeyThatOthersCanReadIsRefusedAndKept) {
  static_cast<void>(open());
  const std::vector<uint8_t> key = read(key_file());
  for (const mode_t mode : {0640U, 0604U, 0620U, 0610U}) {
    ASSERT_EQ(::chmod(key_file().c_str(), mode), 0);
    EXPECT_EQ(open_key_file(key_file()).code(), Code::kUnavailable) << mode;
  }
  expect_off(CacheFault::kKey);
  EXPECT_EQ(read(key_file()), key);
}

TEST_F(UnfitTest, ASymlinkInTheKeysPlaceIsRefused) {
  static_cast<void>(open());
  fs::rename(key_file(), folder_.path() / "key");
  fs::create_symlink(folder_.path() / "key", key_file());
  expect_off(CacheFault::kKey);
}

// The cache can be read, so what is there is used; for root, too, as the mode says so.
TEST_F(CodeCacheTest, AReadOnlyDirectoryIsOnlyRead) {
  const Made made = make(1);
  const Made other = make(2);
  store(*open(), made);
  const std::vector<uint8_t> good = read(file_of(made.source));
  ASSERT_EQ(::chmod(directory().c_str(), 0500), 0);
  const auto cache = open();
  EXPECT_EQ(cache->state(), CodeCacheState::kReadOnly);
  EXPECT_TRUE(answers(*cache, made));
  EXPECT_FALSE(answers(*cache, other));
  EXPECT_FALSE(cache->store(*engine_, other.source, other.compiled, kCompileNs));
  EXPECT_FALSE(fs::exists(file_of(other.source)));
  EXPECT_EQ(count(".uses"), 0u);
  expect_fault(*cache, CacheFault::kDirectory);
  // A bad file in it is refused each time: it cannot be removed.
  std::vector<uint8_t> bad = good;
  bad.back() ^= 1;
  write(file_of(made.source), bad);
  EXPECT_FALSE(answers(*cache, made));
  EXPECT_FALSE(answers(*cache, made));
  EXPECT_EQ(cache->statistics().faults_of(CacheFault::kMac), 2u);
  EXPECT_EQ(lines().size(), 2u);
  EXPECT_TRUE(fs::exists(file_of(made.source)));
  ASSERT_EQ(::chmod(directory().c_str(), 0700), 0);
}

// A file system of its own, in a child's own list of mounts.
std::string in_a_tiny_file_system(const fs::path& where, const char* mount_options,
                                  const std::function<std::string()>& body) {
  fs::create_directories(where);
  return test::in_child([&]() -> std::string {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("spore-test", where.c_str(), "tmpfs", 0, mount_options) != 0) {
      return "no file system";
    }
    return body();
  });
}

TEST_F(CodeCacheTest, AFullDiskIsSaidOnceAndLeavesNothing) {
  const Made made = make(1);
  const std::string wrong = in_a_tiny_file_system(home(), "size=64k,mode=0700", [&]() -> std::string {
    const auto cache = open();
    if (cache->state() != CodeCacheState::kOn) return "not on: " + cache->statistics().reason;
    // Directory and key take a page; no file of code fits into what is left.
    const fs::path filler = home() / "filler";
    {
      const UniqueFd fd(::open(filler.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
      const std::vector<uint8_t> page(4096);
      while (::write(fd.get(), page.data(), page.size()) > 0) {
      }
    }
    for (int i = 0; i < 3; i++) {
      if (answers(*cache, made)) return "a hit";
      if (cache->store(*engine_, made.source, made.compiled, kCompileNs)) return "stored";
    }
    expect_fault(*cache, CacheFault::kFull, 3);
    if (count(".tmp") != 0 || count(".code") != 0) return "something was left";
    fs::remove(filler);
    // Once there is room again it is used.
    if (!cache->store(*engine_, made.source, made.compiled, kCompileNs)) return "not stored with room";
    if (!answers(*cache, made)) return "no hit with room";
    return HasFailure() ? "see above" : "";
  });
  if (wrong == "no file system") GTEST_SKIP() << "no right to mount one here";
  EXPECT_EQ(wrong, "");
}

TEST_F(CodeCacheTest, AReadOnlyFileSystemIsOnlyRead) {
  const Made made = make(1);
  const std::string wrong = in_a_tiny_file_system(home(), "mode=0700", [&]() -> std::string {
    const auto before = open();
    if (!before->store(*engine_, made.source, made.compiled, kCompileNs)) return "not stored";
    if (::mount("none", home().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0)
      return "no file system";
    const auto cache = open();
    if (cache->state() != CodeCacheState::kReadOnly) return "not read-only";
    if (!answers(*cache, made)) return "no hit";
    // And one that was open before.
    if (!answers(*before, made)) return "no hit of the other";
    if (before->store(*engine_, made.source, made.compiled, kCompileNs)) return "stored";
    if (before->statistics().faults_of(CacheFault::kDirectory) != 1) return "not counted";
    return "";
  });
  if (wrong == "no file system") GTEST_SKIP() << "no right to mount one here";
  EXPECT_EQ(wrong, "");
}

// The same where nobody may mount: the limit on the size of files ends a write in the middle.
TEST_F(CodeCacheTest, AFileThatCannotBeFinishedLeavesNothing) {
  const Made made = make(1);
  static_cast<void>(open());
  const std::string wrong = test::in_child([&]() -> std::string {
    ::signal(SIGXFSZ, SIG_IGN);
    constexpr rlim_t kFileBytesMax = 5000;
    const rlimit limit{kFileBytesMax, kFileBytesMax};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return "no limit";
    const auto cache = open();
    if (cache->store(*engine_, made.source, made.compiled, kCompileNs)) return "stored";
    expect_fault(*cache, CacheFault::kFull);
    if (count(".tmp") != 0 || count(".code") != 0) return "something was left";
    return HasFailure() ? "see above" : "";
  });
  EXPECT_EQ(wrong, "");
}

TEST_F(CodeCacheTest, ADirectoryThatGoesMeanwhileIsSaidOnce) {
  const Made made = make(1);
  const auto cache = open();
  store(*cache, made);
  fs::remove_all(home());
  for (int i = 0; i < 2; i++) {
    EXPECT_FALSE(answers(*cache, made));
    EXPECT_FALSE(cache->store(*engine_, made.source, made.compiled, kCompileNs));
  }
  expect_fault(*cache, CacheFault::kWrite, 2);
  store(*open(), made);
  EXPECT_TRUE(answers(*open(), made));
}

// A cached file that cannot be copied into memory is no fault of the file: it stays.
TEST_F(CodeCacheTest, WithoutMemoryTheFileStays) {
  const Made made = make(1);
  store(*open(), made);
  const std::string wrong = test::in_child([&]() -> std::string {
    ::signal(SIGXFSZ, SIG_IGN);
    constexpr rlim_t kFileBytesMax = 5000;
    const rlimit limit{kFileBytesMax, kFileBytesMax};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return "no limit";
    const auto cache = open();
    if (cache->load(*engine_, made.source)) return "a hit";
    expect_fault(*cache, CacheFault::kMemory);
    return HasFailure() ? "see above" : "";
  });
  EXPECT_EQ(wrong, "");
  EXPECT_TRUE(answers(*open(), made));
}

// --- several at once, and ends in the middle -------------------------------------------------------------

// Goal: whoever dies while writing leaves no file that is not whole, and no temporary one after the next
// start.
TEST_F(CodeCacheTest, WritersThatAreKilledLeaveOnlyWholeFiles) {
  constexpr int kRounds = 60;
  constexpr int kModules = 4;
  std::vector<Made> made;
  for (int i = 0; i < kModules; i++) made.push_back(make(i));
  static_cast<void>(open());
  const MacKey key = open_key_file(key_file()).value();
  uint64_t random = 1;
  size_t seen_temporary = 0;
  for (int round = 0; round < kRounds; round++) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto cache = open();
      for (int i = 0;; i = (i + 1) % kModules) {
        const Made& one = made[static_cast<size_t>(i)];
        static_cast<void>(cache->store(*engine_, one.source, one.compiled, kCompileNs));
      }
    }
    random = random * 6364136223846793005U + 1442695040888963407U;
    std::this_thread::sleep_for(std::chrono::microseconds(500 + (random >> 33) % 8000));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    seen_temporary += count(".tmp");
    const auto cache = open();
    EXPECT_EQ(count(".tmp"), 0u) << "round " << round;
    const CacheDirectory directory = CacheDirectory::open(this->directory(), false).value();
    const std::vector<CacheEntry> entries = directory.entries().value();
    for (const CacheEntry& entry : entries) {
      EXPECT_TRUE(directory.check(entry.key, key).ok()) << "round " << round;
    }
  }
  EXPECT_GT(seen_temporary, 0u) << "no child died in the middle: this showed nothing";
  EXPECT_GT(count(".code"), 0u);
}

// The temporary file of somebody who lives is not taken for a dead one's.
TEST_F(CodeCacheTest, AWriterThatIsSlowKeepsItsFile) {
  static_cast<void>(open());
  const UniqueFd directory(::open(this->directory().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  {
    TemporaryFile file = TemporaryFile::create(directory.get(), "x").value();
    static_cast<void>(open());
    EXPECT_EQ(count(".tmp"), 1u);
    EXPECT_TRUE(file.replace().ok());
    EXPECT_EQ(count(".tmp"), 0u);
  }
  EXPECT_TRUE(fs::exists(this->directory() / "x"));
  static_cast<void>(TemporaryFile::create(directory.get(), "y").value());
  EXPECT_EQ(count(".tmp"), 0u) << "what is not put into place goes";
}

// Goal: who cleans up takes no file from who has just made it.
TEST_F(CodeCacheTest, CleaningUpMeanwhileTakesNoFileAway) {
  constexpr int kFiles = 2000;
  static_cast<void>(open());
  const UniqueFd directory(::open(this->directory().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::jthread cleaner([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) remove_stale_temporaries(directory.get(), "");
  });
  int lost = 0;
  for (int i = 0; i < kFiles; i++) {
    const TemporaryFile file = TemporaryFile::create(directory.get(), "x").value();
    struct stat info{};
    if (::fstat(file.fd(), &info) != 0 || info.st_nlink != 1) lost++;
  }
  EXPECT_EQ(lost, 0);
}

// Goal: processes that store, load and evict the same files at once never see one that is not whole, and each
// call is answered.
TEST_F(CodeCacheTest, ProcessesShareTheDirectory) {
  constexpr int kModules = 6;
  constexpr int kCalls = 400;
  constexpr int kProcesses = 3;
  std::vector<Made> made;
  for (int i = 0; i < kModules; i++) made.push_back(make(i));
  store(*open(), made[0]);
  const uint64_t file_bytes = fs::file_size(file_of(made[0].source));
  std::vector<pid_t> children;
  for (int process = 0; process < kProcesses; process++) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    CodeCacheOptions options = this->options();
    options.bytes_max = file_bytes * 3;  // half of them: each process evicts all the time
    const auto cache = CodeCache::open(options);
    uint64_t random = static_cast<uint64_t>(process) + 1;
    for (int call = 0; call < kCalls; call++) {
      random = random * 6364136223846793005U + 1442695040888963407U;
      const Made& one = made[(random >> 33) % kModules];
      const Cached cached = cache->load(*engine_, one.source);
      if (cached ? cached.code->module_hash() != one.source.hash
                 : !cache->store(*engine_, one.source, one.compiled, kCompileNs)) {
        ::_exit(1);
      }
    }
    const CodeCacheStatistics statistics = cache->statistics();
    uint64_t faults = 0;
    for (const uint64_t count : statistics.faults) faults += count;
    const bool busy = statistics.counts.hits > 0 && statistics.counts.stored > 0;
    ::_exit(faults != 0 ? 2 : !busy ? 3 : 0);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "1: wrong answer, 2: a fault, 3: it did not hit and store";
  }
  CodeCacheOptions options = this->options();
  options.bytes_max = file_bytes * 3;
  const auto cache = CodeCache::open(options);
  EXPECT_EQ(count(".tmp"), 0u);
  EXPECT_LE(cache->statistics().bytes, options.bytes_max + kProcesses * file_bytes);
  store(*cache, made[1]);
  EXPECT_LE(cache->statistics().bytes, options.bytes_max);
}

TEST_F(CodeCacheTest, ThreadsShareACache) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 200;
  std::vector<Made> made;
  for (int i = 0; i < kThreads; i++) made.push_back(make(i));
  const auto cache = open();
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; thread++) {
      threads.emplace_back([&, thread] {
        for (int call = 0; call < kCalls; call++) {
          const Made& one = made[static_cast<size_t>((thread + call) % kThreads)];
          const Cached cached = cache->load(*engine_, one.source);
          if (cached ? cached.code->module_hash() != one.source.hash
                     : !cache->store(*engine_, one.source, one.compiled, kCompileNs)) {
            wrong++;
          }
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
  const CodeCacheStatistics statistics = cache->statistics();
  EXPECT_EQ(statistics.counts.hits + statistics.counts.misses, uint64_t{kThreads} * kCalls);
  EXPECT_TRUE(lines().empty());
}

// A child that was forked while another thread was in the cache finds it in order.  That thread loads what is
// not there: one that is inside the engine at that time would leave the engine's own lock held in the child.
TEST_F(CodeCacheTest, AForkedChildGoesOn) {
  if (test::kSanitized) GTEST_SKIP() << "it has locks of its own that a fork leaves held";
  const Made made = make(1);
  const Made missing = make(2);
  const auto cache = open();
  store(*cache, made);
  std::atomic<bool> stop{false};
  std::jthread other([&] {
    while (!stop.load()) {
      static_cast<void>(cache->load(*engine_, missing.source));
      static_cast<void>(cache->statistics());
      static_cast<void>(cache->flight(*engine_, missing.source, std::chrono::milliseconds(0), {}));
    }
  });
  const std::jthread busy([&] {
    while (!stop.load()) static_cast<void>(cache->state());
  });
  constexpr int kForks = 50;
  for (int i = 0; i < kForks; i++) {
    EXPECT_EQ(test::in_child([&]() -> std::string {
                const uint64_t before = cache->statistics().counts.hits;
                if (!cache->load(*engine_, made.source)) return "no hit";
                if (cache->statistics().counts.hits != before + 1) return "not counted";
                if (!cache->store(*engine_, made.source, made.compiled, kCompileNs)) return "not stored";
                return "";
              }),
              "");
  }
  stop = true;
}

// --- flights ---------------------------------------------------------------------------------------------

TEST_F(CodeCacheTest, OneProcessCompilesAndTheOthersWait) {
  const Made made = make(1);
  const auto cache = open();
  std::array<int, 2> held{};
  std::array<int, 2> go{};
  ASSERT_EQ(::pipe(held.data()), 0);
  ASSERT_EQ(::pipe(go.data()), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  char byte = 0;
  if (child == 0) {
    const auto own = open();
    const Flight flight = own->flight(*engine_, made.source, std::chrono::milliseconds(0), {});
    if (!flight.held() || flight.waited() || ::write(held[1], &byte, 1) != 1 ||
        ::read(go[0], &byte, 1) != 1) {
      ::_exit(1);
    }
    ::_exit(own->store(*engine_, made.source, made.compiled, kCompileNs) ? 0 : 2);
  }
  ASSERT_EQ(::read(held[0], &byte, 1), 1);
  // It waits in vain, then until the other is done.
  const Flight in_vain = cache->flight(*engine_, made.source, std::chrono::milliseconds(1), {});
  EXPECT_TRUE(in_vain.waited());
  EXPECT_FALSE(in_vain.held());
  expect_fault(*cache, CacheFault::kBusy);
  ASSERT_EQ(::write(go[1], &byte, 1), 1);
  const Flight flight = cache->flight(*engine_, made.source, std::chrono::seconds(60), {});
  EXPECT_TRUE(flight.held());
  EXPECT_TRUE(cache->load(*engine_, made.source));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  for (const int fd : {held[0], held[1], go[0], go[1]}) ::close(fd);
}

TEST_F(CodeCacheTest, FlightsAreOfOneKeyAndLeaveNothing) {
  const Made one = make(1);
  const Made two = make(2);
  const auto cache = open();
  {
    const Flight first = cache->flight(*engine_, one.source, std::chrono::milliseconds(0), {});
    const Flight second = cache->flight(*engine_, two.source, std::chrono::milliseconds(0), {});
    EXPECT_TRUE(first.held());
    EXPECT_TRUE(second.held());
    EXPECT_FALSE(second.waited());
    // Also within a process.
    EXPECT_FALSE(cache->flight(*engine_, one.source, std::chrono::milliseconds(0), {}).held());
    EXPECT_EQ(count(".flight"), 2u);
    static_cast<void>(open());
    EXPECT_EQ(count(".flight"), 2u) << "cleaning up leaves those alone that are held";
  }
  EXPECT_EQ(count(".flight"), 0u);
  EXPECT_TRUE(cache->flight(*engine_, one.source, std::chrono::milliseconds(0), {}).held());
  write(directory() / flight_file_name(cache_key(*engine_, one.source)), {});  // of somebody who died
  static_cast<void>(open());
  EXPECT_EQ(count(".flight"), 0u);
}

// A child's copies of what its parent holds take nothing away from the parent.
TEST_F(CodeCacheTest, AForkedChildGivesNothingBack) {
  const Made made = make(1);
  const auto cache = open();
  const UniqueFd directory(::open(this->directory().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const CacheDirectory cached = CacheDirectory::open(this->directory(), false).value();
  std::optional<TemporaryFile> file(TemporaryFile::create(directory.get(), "x").value());
  std::optional<Flight> flight(cache->flight(*engine_, made.source, std::chrono::milliseconds(0), {}));
  std::optional<FileLock> lock(cached.lock(std::chrono::milliseconds(0)).value());
  EXPECT_EQ(test::in_child([&] {
              file.reset();
              flight.reset();
              lock.reset();
              return std::string();
            }),
            "");
  EXPECT_EQ(count(".tmp"), 1u);
  EXPECT_EQ(count(".flight"), 1u);
  EXPECT_FALSE(cached.lock(std::chrono::milliseconds(0)).ok());
  EXPECT_FALSE(cache->flight(*engine_, made.source, std::chrono::milliseconds(0), {}).held());
  lock.reset();
  flight.reset();
  EXPECT_TRUE(cached.lock(std::chrono::milliseconds(0)).ok());
  EXPECT_TRUE(cache->flight(*engine_, made.source, std::chrono::milliseconds(0), {}).held());
  EXPECT_TRUE(file->replace().ok());
}

// Goal: never two at once, though each removes the file that they lock.
TEST_F(CodeCacheTest, NeverTwoCompileTheSame) {
  constexpr int kThreads = 4;
  constexpr int kFlights = 300;
  const Made made = make(1);
  const auto cache = open();
  std::atomic<int> inside{0};
  std::atomic<int> wrong{0};
  std::atomic<int> held{0};
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; thread++) {
      threads.emplace_back([&] {
        for (int i = 0; i < kFlights; i++) {
          const Flight flight = cache->flight(*engine_, made.source, std::chrono::milliseconds(5), {});
          if (!flight.held()) continue;
          held++;
          if (inside.fetch_add(1) != 0) wrong++;
          std::this_thread::yield();
          inside.fetch_sub(1);
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(held, kFlights);
}

TEST_F(CodeCacheTest, WaitingEndsWhenItIsToStop) {
  const Made made = make(1);
  const auto cache = open();
  const Flight first = cache->flight(*engine_, made.source, std::chrono::milliseconds(0), {});
  std::stop_source stop;
  stop.request_stop();
  const Flight second = cache->flight(*engine_, made.source, std::chrono::hours(1), stop.get_token());
  EXPECT_FALSE(second.held());
  EXPECT_TRUE(lines().empty());
}

// --- room ------------------------------------------------------------------------------------------------

// Files of three modules, each with uses and times of its own; the fourth makes one of them leave.
class EvictionTest : public CodeCacheTest {
 protected:
  void SetUp() override {
    for (int i = 0; i < 4; i++) made_.push_back(make(i));
    store(*open(), made_[0]);
    file_bytes_ = fs::file_size(file_of(made_[0].source));
    fs::remove(file_of(made_[0].source));
  }

  CodeCacheOptions limited(Eviction eviction) {
    CodeCacheOptions options = this->options();
    options.bytes_max = 3 * file_bytes_ + file_bytes_ / 2;
    options.eviction = eviction;
    return options;
  }

  static void last_used(const fs::path& file, int seconds_ago) {
    const timeval then{.tv_sec = ::time(nullptr) - seconds_ago, .tv_usec = 0};
    const std::array<timeval, 2> times{then, then};
    ASSERT_EQ(::utimes(file.c_str(), times.data()), 0);
  }

  // Which of the four are there.
  std::vector<int> left() const {
    std::vector<int> found;
    for (int i = 0; i < 4; i++) {
      if (fs::exists(file_of(made_[static_cast<size_t>(i)].source))) found.push_back(i);
    }
    return found;
  }

  std::vector<Made> made_;
  uint64_t file_bytes_ = 0;
};

TEST_F(EvictionTest, LruRemovesWhatWasNotUsedForLongest) {
  const auto cache = CodeCache::open(limited(Eviction::kLru));
  for (int i = 0; i < 3; i++) store(*cache, made_[static_cast<size_t>(i)]);
  for (int i = 0; i < 3; i++) last_used(file_of(made_[static_cast<size_t>(i)].source), 100 - i);
  EXPECT_TRUE(cache->load(*engine_, made_[0].source)) << "used now";
  store(*cache, made_[3]);
  EXPECT_EQ(left(), (std::vector{0, 2, 3}));
  EXPECT_EQ(cache->statistics().counts.evicted, 1u);
  EXPECT_EQ(cache->statistics().counts.bytes_evicted, file_bytes_);
  EXPECT_TRUE(lines().empty());
}

TEST_F(EvictionTest, LfuRemovesWhatWasUsedLeast) {
  const auto cache = CodeCache::open(limited(Eviction::kLfu));
  for (int i = 0; i < 3; i++) store(*cache, made_[static_cast<size_t>(i)]);
  for (const int i : {0, 0, 0, 1, 2, 2})
    EXPECT_TRUE(cache->load(*engine_, made_[static_cast<size_t>(i)].source));
  last_used(file_of(made_[0].source), 1000);
  store(*cache, made_[3]);
  EXPECT_EQ(left(), (std::vector{0, 2, 3})) << "the new one has no use yet, but it is why there is no room";
  EXPECT_EQ(count(".uses"), 2u) << "what is known of a file goes with it";
}

TEST_F(EvictionTest, TtlRemovesTheOldestAndWhateverIsTooOld) {
  CodeCacheOptions options = limited(Eviction::kTtl);
  options.ttl_s = 1000;
  const auto cache = CodeCache::open(options);
  const CacheDirectory directory = CacheDirectory::open(this->directory(), false).value();
  const MacKey key = open_key_file(key_file()).value();
  const auto write_old = [&](int i, uint64_t age_s) {
    const Made& made = made_[static_cast<size_t>(i)];
    const CacheHeader header{.key = cache_key(*engine_, made.source),
                             .module_hash = made.source.hash,
                             .stored_s = static_cast<uint64_t>(::time(nullptr)) - age_s,
                             .made_by = engine_->description(0)};
    const std::vector<uint8_t> native = made.compiled.code->native().value();
    ASSERT_TRUE(directory.write_file(header, {.bytes = native}, key).ok());
  };
  write_old(0, 900);
  write_old(1, 950);
  write_old(2, 100);
  for (int i = 0; i < 3; i++) EXPECT_TRUE(cache->load(*engine_, made_[static_cast<size_t>(i)].source));
  store(*cache, made_[3]);
  EXPECT_EQ(left(), (std::vector{0, 2, 3}));
  write_old(0, 1100);
  EXPECT_FALSE(cache->load(*engine_, made_[0].source)) << "too old to be loaded";
  EXPECT_EQ(left(), (std::vector{2, 3}));
  write_old(0, 1100);
  write_old(1, 1100);
  store(*cache, made_[3]);
  EXPECT_EQ(left(), (std::vector{2, 3}));
  EXPECT_EQ(cache->statistics().counts.evicted, 4u);
  EXPECT_TRUE(lines().empty());
}

TEST_F(EvictionTest, AdaptiveRemovesWhatSavesLeast) {
  const auto cache = CodeCache::open(limited(Eviction::kAdaptive));
  constexpr uint64_t kCheapNs = 1'000'000;
  const auto store_at = [&](int i, uint64_t compile_ns) {
    const Made& made = made_[static_cast<size_t>(i)];
    ASSERT_TRUE(cache->store(*engine_, made.source, made.compiled, compile_ns));
  };
  store_at(0, 100 * kCheapNs);  // dear, never used
  store_at(1, kCheapNs);        // cheap, used twice
  store_at(2, 10 * kCheapNs);
  for (int i = 0; i < 2; i++) EXPECT_TRUE(cache->load(*engine_, made_[1].source));
  store_at(3, kCheapNs);
  EXPECT_EQ(left(), (std::vector{0, 2, 3}));
  // Weeks that it was not used weigh: 100 times 2^-10.
  constexpr int kTenWeeksS = 70 * 24 * 3600;
  last_used(file_of(made_[0].source), kTenWeeksS);
  store_at(1, kCheapNs);
  EXPECT_EQ(left(), (std::vector{1, 2, 3}));
}

TEST_F(EvictionTest, AFileLargerThanTheCacheIsNotKept) {
  CodeCacheOptions options = this->options();
  options.bytes_max = file_bytes_ - 1;
  auto cache = CodeCache::open(options);
  EXPECT_FALSE(cache->store(*engine_, made_[0].source, made_[0].compiled, kCompileNs));
  expect_fault(*cache, CacheFault::kTooLarge);
  EXPECT_EQ(count(".code"), 0u);
  options.bytes_max = file_bytes_;
  cache = CodeCache::open(options);
  store(*cache, made_[0]);
  store(*cache, made_[1]);
  EXPECT_EQ(left(), (std::vector{1}));
  options.bytes_max = 0;
  cache = CodeCache::open(options);
  store(*cache, made_[0]);
  EXPECT_EQ(left(), (std::vector{0, 1})) << "0 is no limit";
}

TEST_F(EvictionTest, WhileAnotherHoldsTheLockNothingIsRemoved) {
  const auto cache = CodeCache::open(limited(Eviction::kLru));
  for (int i = 0; i < 3; i++) store(*cache, made_[static_cast<size_t>(i)]);
  const CacheDirectory directory = CacheDirectory::open(this->directory(), false).value();
  {
    const FileLock lock = directory.lock(std::chrono::milliseconds(0)).value();
    store(*cache, made_[3]);
  }
  EXPECT_EQ(left().size(), 4u);
  expect_fault(*cache, CacheFault::kBusy);
  store(*cache, made_[3]);
  EXPECT_EQ(left().size(), 3u) << "the next one makes up for it";
}

TEST_F(EvictionTest, UsesThatAreNonsenseDoNoHarm) {
  const auto cache = CodeCache::open(limited(Eviction::kAdaptive));
  for (int i = 0; i < 3; i++) store(*cache, made_[static_cast<size_t>(i)]);
  for (int i = 0; i < 3; i++) {
    const std::string uses = cache_key(*engine_, made_[static_cast<size_t>(i)].source).hex() + ".uses";
    write(directory() / uses, std::vector<uint8_t>(i == 0 ? 16 : i * 7, 0xff));
  }
  for (int i = 0; i < 3; i++) EXPECT_TRUE(cache->load(*engine_, made_[static_cast<size_t>(i)].source));
  store(*cache, made_[3]);
  EXPECT_EQ(left().size(), 3u);
  EXPECT_TRUE(lines().empty());
}

TEST_F(EvictionTest, WhatOthersPutThereIsLeftAlone) {
  const auto cache = CodeCache::open(limited(Eviction::kLru));
  write(directory() / "notes.txt", std::vector<uint8_t>(100'000));
  write(directory() / "short.code", std::vector<uint8_t>(100'000));
  for (int i = 0; i < 4; i++) store(*cache, made_[static_cast<size_t>(i)]);
  EXPECT_TRUE(fs::exists(directory() / "notes.txt"));
  EXPECT_TRUE(fs::exists(directory() / "short.code"));
  EXPECT_EQ(left().size(), 3u);
}

// --- statistics ------------------------------------------------------------------------------------------

TEST_F(CodeCacheTest, StatisticsAreToldAsJsonAndMetrics) {
  const Made made = make(1);
  const auto cache = open();
  store(*cache, made);
  EXPECT_TRUE(answers(*cache, made));
  std::vector<uint8_t> bytes = read(file_of(made.source));
  bytes.back() ^= 1;
  write(file_of(made.source), bytes);
  EXPECT_FALSE(answers(*cache, made));
  JsonWriter json;
  json.begin_object();
  cache->statistics().write_json(json);
  json.end_object();
  const std::string text = json.take();
  EXPECT_TRUE(test::JsonCheck::is_json(text)) << text;
  for (const std::string_view part :
       {"\"state\": \"on\"", "\"hits\": 1", "\"misses\": 1", "\"mac\": 1", "\"full\": 0",
        "\"compile_saved_ns\": 123000000", "\"eviction\": \"adaptive\""}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in " << text;
  }
  MetricsWriter metrics;
  cache->statistics().write_metrics(metrics);
  const std::string families = metrics.take();
  for (const std::string_view part :
       {"spore_code_cache_on 1", "spore_code_cache_hits_total 1",
        "spore_code_cache_faults_total{cause=\"mac\"} 1",
        "spore_code_cache_compile_saved_seconds_total 0.123", "spore_code_cache_files 0"}) {
    EXPECT_NE(families.find(part), std::string::npos) << part << " is not in " << families;
  }
}

}  // namespace
}  // namespace spore::code
