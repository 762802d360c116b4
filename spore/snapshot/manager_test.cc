// Images that are read once for all, kept, let go; and what is to be had where one cannot be read.

#include "spore/snapshot/manager.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/json_check.h"
#include "tests/snapshot_format.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;
using test::says;

constexpr size_t kMemoryBytes = size_t{4} * 65536;
constexpr const char* kGuest = "(module (memory (export \"memory\") 1))";

class ManagerTest : public test::SnapshotFormat {
 protected:
  // An image whose memory is all of one byte: no two are alike.
  fs::path image(std::string_view name, uint8_t fill,
                 const WriteOptions& options = test::kUncompressed) const {
    const Contents contents = test::contents_without_engine(
        test::wasm(kGuest), {std::vector<std::byte>(kMemoryBytes, std::byte{fill})});
    EXPECT_TRUE(write(contents, folder_ / name, options).ok());
    settle(folder_ / name);
    return folder_ / name;
  }
  static void settle(const fs::path& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    while (!FileIdentity::of(fd.get())->is_settled()) ::sched_yield();
  }
  ManagerOptions with_clock(ImageCacheOptions cache = {}) {
    cache.now_ms = [this] { return now_ms_.load(); };
    return {.cache = std::move(cache),
            .read = {.progress = {}},
            .write = test::kUncompressed,
            .proofs = nullptr,
            .log = {}};
  }
  static uint8_t byte_of(const Contents& contents) {
    return std::to_integer<uint8_t>(contents.image.memories[0]->page(0)[0]);
  }
  static DeltaFile delta_on(const Contents& image, uint64_t sequence, const Digest& parent) {
    return {.cell = "cell",
            .domain = image.manifest.domain,
            .sequence = sequence,
            .parent = parent,
            .base = image.id,
            .module = image.manifest.module,
            .delta = {1, 2, 3, static_cast<uint8_t>(sequence)}};
  }
  // Deltas as files, one on the other.
  std::vector<fs::path> chain(const Contents& image, size_t links) const {
    std::vector<fs::path> paths;
    Digest parent = image.id;
    for (size_t i = 0; i < links; i++) {
      paths.push_back(folder_ / fmt::format("delta{}", i));
      parent = write_delta(delta_on(image, i + 1, parent), paths.back()).value().id;
    }
    return paths;
  }

  std::atomic<uint64_t> now_ms_{1'000'000};
};

// --- the cache -------------------------------------------------------------------------------------------

TEST_F(ManagerTest, AnImageIsReadOnce) {
  SnapshotManager manager(with_clock());
  const fs::path path = image("a", 1);
  const Loaded first = manager.load({.image = path}).value();
  EXPECT_EQ(first.step, LoadStep::kBase);
  EXPECT_FALSE(first.statistics.from_cache);
  EXPECT_GT(first.statistics.raw_bytes, kMemoryBytes);
  const Loaded second = manager.load({.image = path}).value();
  EXPECT_TRUE(second.statistics.from_cache);
  EXPECT_EQ(second.contents, first.contents);
  EXPECT_EQ(byte_of(*second.contents), 1);
  const ManagerStatistics statistics = manager.statistics();
  EXPECT_EQ(statistics.counts.loads, 2u);
  EXPECT_EQ(statistics.counts.reads, 1u);
  EXPECT_EQ(statistics.counts.hits, 1u);
  ASSERT_EQ(statistics.images.size(), 1u);
  EXPECT_EQ(statistics.images[0].id, first.contents->id);
  EXPECT_EQ(statistics.images[0].uses, 1u);
  EXPECT_TRUE(statistics.images[0].held);
  EXPECT_GT(statistics.bytes, kMemoryBytes);
}

// Another file at the path is another image; the same image in another file is shared.
TEST_F(ManagerTest, AFileThatChangedIsReadAnew) {
  SnapshotManager manager(with_clock());
  const fs::path path = image("a", 1);
  const auto first = manager.load_image(path).value();
  image("a", 2);
  const auto second = manager.load_image(path).value();
  EXPECT_EQ(byte_of(*second), 2);
  EXPECT_EQ(byte_of(*first), 1);
  fs::copy_file(path, folder_ / "copy");
  settle(folder_ / "copy");
  EXPECT_EQ(manager.load_image(folder_ / "copy").value(), second);
  EXPECT_EQ(manager.statistics().counts.reads, 3u);
  EXPECT_EQ(manager.load_image(folder_ / "copy").value(), second);
  EXPECT_EQ(manager.statistics().counts.hits, 1u);
  // Damage is found, though the image is in memory.
  const UniqueFd fd(::open((folder_ / "copy").c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::pwrite(fd.get(), "x", 1, 9000), 1);
  settle(folder_ / "copy");
  EXPECT_EQ(manager.load_image(folder_ / "copy").code(), Code::kCorruption);
  EXPECT_EQ(manager.statistics().counts.read_failures, 1u);
}

// On both sides of the limit: what fits is kept, and of what does not the oldest goes.
TEST_F(ManagerTest, OfTooMuchSomethingIsLetGo) {
  const fs::path a = image("a", 1);
  const fs::path b = image("b", 2);
  SnapshotManager large(with_clock());
  const uint64_t one = [&] {
    EXPECT_TRUE(large.load_image(a).ok());
    return large.statistics().bytes;
  }();
  EXPECT_TRUE(large.load_image(b).ok());
  const uint64_t both = large.statistics().bytes;
  for (const uint64_t limit : {both, both - 1}) {
    SnapshotManager manager(with_clock({.bytes_max = limit, .eviction = code::Eviction::kLru}));
    EXPECT_TRUE(manager.load_image(a).ok());
    now_ms_ += 1000;
    EXPECT_TRUE(manager.load_image(b).ok());
    const ManagerStatistics statistics = manager.statistics();
    EXPECT_EQ(statistics.images.size(), limit == both ? 2u : 1u);
    EXPECT_EQ(statistics.cache.evicted, limit == both ? 0u : 1u);
    EXPECT_LE(statistics.bytes, limit);
    EXPECT_TRUE(manager.load_image(b).ok());
    EXPECT_EQ(manager.statistics().counts.hits, 1u) << "the newer one is there";
  }
  // One that is larger than all there may be is given, and not kept; but found as long as somebody holds it.
  SnapshotManager small(with_clock({.bytes_max = one - 1}));
  auto held = small.load_image(a).value();
  EXPECT_EQ(small.statistics().images.size(), 0u);
  EXPECT_EQ(small.load_image(a).value(), held);
  EXPECT_EQ(small.statistics().counts.hits, 1u);
  held.reset();
  EXPECT_TRUE(small.load_image(a).ok());
  EXPECT_EQ(small.statistics().counts.reads, 2u);
}

TEST_F(ManagerTest, EachPolicyLetsGoOfItsOwn) {
  const fs::path a = image("a", 1);
  const fs::path b = image("b", 2);
  const fs::path c = image("c", 3);
  const auto left = [&](code::Eviction eviction) {
    ManagerOptions options = with_clock({.eviction = eviction});
    {
      SnapshotManager probe(options);
      EXPECT_TRUE(probe.load_image(a).ok());
      options.cache.bytes_max = probe.statistics().bytes * 5 / 2;
    }
    SnapshotManager manager(options);
    EXPECT_TRUE(manager.load_image(a).ok());  // the oldest, asked for most often
    for (int i = 0; i < 5; i++) EXPECT_TRUE(manager.load_image(a).ok());
    now_ms_ += 1000;
    EXPECT_TRUE(manager.load_image(b).ok());  // asked for last
    now_ms_ += 1000;
    EXPECT_TRUE(manager.load_image(c).ok());
    std::string names;
    for (const auto& [path, name] : {std::pair(a, 'a'), std::pair(b, 'b'), std::pair(c, 'c')}) {
      const Digest id = describe(path).value().id;
      for (const ImageCache::Held& held : manager.statistics().images) {
        if (held.id == id) names += name;
      }
    }
    return names;
  };
  EXPECT_EQ(left(code::Eviction::kLru), "bc");
  EXPECT_EQ(left(code::Eviction::kTtl), "bc");
  EXPECT_EQ(left(code::Eviction::kLfu), "ac");
  const std::string adaptive =
      left(code::Eviction::kAdaptive);  // of b and c, the one that was read quicker goes
  EXPECT_TRUE(adaptive == "ab" || adaptive == "ac") << adaptive;
}

TEST_F(ManagerTest, WhatNobodyHoldsIsLetGoInTime) {
  SnapshotManager manager(with_clock({.max_age_ms = 1000}));
  const fs::path path = image("a", 1);
  auto held = manager.load_image(path).value();
  now_ms_ += 10'000;
  manager.trim();
  EXPECT_EQ(manager.statistics().images.size(), 1u) << "somebody holds it";
  EXPECT_EQ(manager.load_image(path).value(), held);
  held.reset();
  now_ms_ += 999;
  manager.trim();
  EXPECT_EQ(manager.statistics().images.size(), 1u);
  now_ms_ += 1;
  manager.trim();
  EXPECT_EQ(manager.statistics().images.size(), 0u);
  EXPECT_EQ(manager.statistics().cache.expired, 1u);
  EXPECT_EQ(manager.statistics().bytes, 0u);
  EXPECT_TRUE(manager.load_image(path).ok());
  EXPECT_EQ(manager.statistics().counts.reads, 2u);
}

TEST_F(ManagerTest, ByTtlAnImageIsLetGoHoweverOftenItIsAskedFor) {
  SnapshotManager manager(with_clock({.eviction = code::Eviction::kTtl, .ttl_s = 60}));
  const fs::path path = image("a", 1);
  EXPECT_TRUE(manager.load_image(path).ok());
  now_ms_ += 59'999;
  EXPECT_TRUE(manager.load_image(path).ok());
  EXPECT_EQ(manager.statistics().counts.hits, 1u);
  now_ms_ += 1;
  EXPECT_TRUE(manager.load_image(path).ok());
  EXPECT_EQ(manager.statistics().counts.reads, 2u);
}

TEST_F(ManagerTest, ClearLetsGoOfAll) {
  SnapshotManager manager(with_clock());
  const fs::path path = image("a", 1);
  const auto held = manager.load_image(path).value();
  manager.clear();
  EXPECT_EQ(manager.statistics().images.size(), 0u);
  EXPECT_EQ(manager.statistics().bytes, 0u);
  EXPECT_EQ(manager.statistics().cache.cleared, 1u);
  EXPECT_EQ(byte_of(*held), 1);
  EXPECT_NE(manager.load_image(path).value(), held);
}

// --- one flight ------------------------------------------------------------------------------------------

// Goal: threads that want one file at a time read it once.  Method: the reader stops in the middle, by its
// progress, until all others wait.
TEST_F(ManagerTest, OfThreadsThatWantOneFileOneReadsIt) {
  constexpr int kThreads = 8;
  SnapshotManager* manager = nullptr;
  ManagerOptions options = with_clock();
  options.read.progress = [&](uint64_t, uint64_t) {
    while (manager->statistics().counts.waits < kThreads - 1) std::this_thread::yield();
  };
  SnapshotManager real(options);
  manager = &real;
  const fs::path path = image("a", 1);
  std::vector<std::shared_ptr<const Contents>> results(kThreads);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; i++) {
      threads.emplace_back([&, i] { results[static_cast<size_t>(i)] = real.load_image(path).value(); });
    }
  }
  for (const auto& result : results) EXPECT_EQ(result, results[0]);
  const ManagerCounts counts = real.statistics().counts;
  EXPECT_EQ(counts.reads, 1u);
  EXPECT_EQ(counts.waits, kThreads - 1u);
}

TEST_F(ManagerTest, AFailureIsAllTheirs) {
  constexpr int kThreads = 4;
  SnapshotManager* manager = nullptr;
  ManagerOptions options = with_clock();
  options.read.progress = [&](uint64_t, uint64_t) {
    while (manager->statistics().counts.waits < kThreads - 1) std::this_thread::yield();
  };
  SnapshotManager real(options);
  manager = &real;
  const fs::path path = image("a", 1);
  {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    const off_t end = static_cast<off_t>(fs::file_size(path));
    ASSERT_EQ(::pwrite(fd.get(), "x", 1, end - 20'000), 1);
  }
  settle(path);
  std::atomic<int> refused{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; i++) {
      threads.emplace_back([&] {
        const auto result = real.load_image(path);
        if (result.code() == Code::kCorruption && error_info(result.status()) != nullptr) refused++;
      });
    }
  }
  EXPECT_EQ(refused, kThreads);
  EXPECT_EQ(real.statistics().counts.reads, 1u);
  EXPECT_EQ(real.statistics().counts.read_failures, 1u);
  // Nothing of it is left: the next one tries again.
  image("a", 1);
  options.read.progress = {};
  EXPECT_TRUE(SnapshotManager(options).load_image(path).ok());
}

// Many files, many threads, too little room: what is given is always what was asked for.
TEST_F(ManagerTest, UnderLoadEachGetsItsOwn) {
  std::vector<fs::path> paths;
  for (uint8_t i = 0; i < 6; i++)
    paths.push_back(image(fmt::format("image{}", i), static_cast<uint8_t>(i + 1)));
  ManagerOptions options = with_clock({.bytes_max = 3 * kMemoryBytes, .eviction = code::Eviction::kLru});
  SnapshotManager manager(options);
  {
    std::vector<std::jthread> threads;
    for (size_t t = 0; t < 4; t++) {
      threads.emplace_back([&, t] {
        for (size_t i = 0; i < 60; i++) {
          const size_t which = (i * 7 + t * 3) % paths.size();
          const auto contents = manager.load_image(paths[which]);
          ASSERT_TRUE(contents.ok()) << contents.status().message();
          ASSERT_EQ(byte_of(*contents.value()), which + 1);
          if (i % 20 == 19) manager.clear();
          now_ms_++;
        }
      });
    }
  }
  const ManagerStatistics statistics = manager.statistics();
  EXPECT_EQ(statistics.counts.loads, 240u);
  EXPECT_EQ(statistics.counts.hits + statistics.counts.waits + statistics.counts.reads, 240u);
  EXPECT_LE(statistics.bytes, statistics.bytes_max);
}

// Goal: a child of a fork does not wait for a thread that it does not have.  Method: the fork comes while
// another thread reads, and stays in it.
TEST_F(ManagerTest, AForkedChildReadsWhatItsParentWasReading) {
  std::mutex mutex;
  std::condition_variable changed;
  bool reading = false;
  bool go_on = false;
  std::atomic<bool> stops{true};
  ManagerOptions options = with_clock();
  options.read.progress = [&](uint64_t, uint64_t) {
    if (!stops) return;
    std::unique_lock lock(mutex);
    reading = true;
    changed.notify_all();
    changed.wait(lock, [&] { return go_on; });
  };
  SnapshotManager manager(options);
  const fs::path path = image("a", 1);
  const fs::path other = image("b", 2);
  std::jthread reader([&] { EXPECT_TRUE(manager.load_image(path).ok()); });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return reading; });
  }
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    stops = false;
    const auto mine = manager.load_image(path);
    const auto another = manager.load_image(other);
    const bool right = mine.ok() && byte_of(*mine.value()) == 1 && another.ok();
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  {
    const std::lock_guard lock(mutex);
    go_on = true;
    changed.notify_all();
  }
}

// --- derived images --------------------------------------------------------------------------------------

class ManagerDerivedTest : public ManagerTest {
 protected:
  // Derived from the image at a path, which it calls `hint`.
  fs::path derived(const fs::path& base, std::string_view hint) const {
    const Contents below = read(base).value();
    std::vector<std::byte> memory(kMemoryBytes, std::byte{byte_of(below)});
    memory[100] = std::byte{0xEE};
    Contents contents = test::contents_without_engine(test::wasm(kGuest), {});
    contents.image.memories.push_back(memory::PageImage::create(memory, below.image.memories[0]).value());
    contents.base = below.id;
    contents.manifest.base_file = hint;
    EXPECT_TRUE(write(contents, folder_ / "derived", test::kUncompressed).ok());
    settle(folder_ / "derived");
    return folder_ / "derived";
  }
};

TEST_F(ManagerDerivedTest, TheBaseIsReadOnceForAll) {
  SnapshotManager manager(with_clock());
  const fs::path base = image("base", 1);
  const fs::path above = derived(base, "base");
  const auto below = manager.load_image(base).value();
  const auto loaded = manager.load_image(above).value();
  EXPECT_EQ(loaded->image.memories[0]->base(), below->image.memories[0]);
  EXPECT_EQ(loaded->image.memories[0]->page(0)[100], std::byte{0xEE});
  EXPECT_EQ(manager.statistics().counts.reads, 2u);
  EXPECT_EQ(manager.load_image(above).value(), loaded);
  // Where the caller says.
  manager.clear();
  fs::rename(base, folder_ / "moved");
  EXPECT_EQ(manager.load_image(above).code(), Code::kUnavailable) << "nothing is in its place";
  EXPECT_TRUE(manager.load_image(above, folder_ / "moved").ok());
}

TEST_F(ManagerDerivedTest, WhatIsNotItsBaseIsNotTaken) {
  SnapshotManager manager(with_clock());
  const fs::path base = image("base", 1);
  const fs::path above = derived(base, "base");
  image("other", 2);
  const auto refused_with = [&](const fs::path& place) {
    const auto result = manager.load_image(above, place);
    EXPECT_FALSE(result.ok());
    EXPECT_NE(error_info(result.status()), nullptr);
    return result.code();
  };
  EXPECT_EQ(refused_with(folder_ / "other"), Code::kUnavailable);
  EXPECT_EQ(refused_with(above), Code::kUnavailable);
  EXPECT_EQ(refused_with(folder_ / "nothing"), Code::kUnavailable);
  EXPECT_TRUE(manager.load_image(above, base).ok());
  manager.clear();
  EXPECT_TRUE(manager.load_image(derived(base, "base")).ok());
  manager.clear();
  EXPECT_EQ(manager.load_image(derived(base, base.native())).code(), Code::kUnavailable)
      << "a whole path is no hint";
  EXPECT_EQ(manager.load_image(derived(base, "")).code(), Code::kUnavailable);
}

// --- step by step ----------------------------------------------------------------------------------------

TEST_F(ManagerTest, WithItsDeltasAnImageIsBest) {
  SnapshotManager manager(with_clock());
  const fs::path path = image("a", 1);
  const auto contents = manager.load_image(path).value();
  for (const size_t links : {size_t{1}, kChainLinksMax}) {
    int checked = 0;
    const Loaded loaded = manager
                              .load({.image = path,
                                     .deltas = chain(*contents, links),
                                     .check_deltas =
                                         [&](const Contents& on, std::span<const DeltaFile> deltas) {
                                           EXPECT_EQ(on.id, contents->id);
                                           EXPECT_EQ(deltas.size(), links);
                                           checked++;
                                           return Status();
                                         }})
                              .value();
    EXPECT_EQ(loaded.step, LoadStep::kDelta);
    EXPECT_EQ(loaded.contents, contents);
    ASSERT_EQ(loaded.deltas.size(), links);
    EXPECT_EQ(loaded.deltas.back().delta.back(), links);
    EXPECT_TRUE(loaded.failed.empty());
    EXPECT_EQ(checked, 1);
  }
  EXPECT_EQ(manager.statistics().counts.steps[0].succeeded, 2u);
  EXPECT_EQ(manager.statistics().counts.delta_reads, 8u);
}

// Goal: what fails falls back one step, says why, and is counted.  Method: each way in which deltas can fail.
TEST_F(ManagerTest, WithoutItsDeltasTheImageIsHad) {
  std::vector<std::string> lines;
  ManagerOptions options = with_clock();
  options.log = Log(LogLevel::kWarning, [&](LogLevel, std::string_view line) { lines.emplace_back(line); });
  SnapshotManager manager(options);
  const fs::path path = image("a", 1);
  const auto contents = manager.load_image(path).value();
  const auto cause_of = [&](LoadRequest request) {
    request.image = path;
    const Loaded loaded = manager.load(request).value();
    EXPECT_EQ(loaded.step, LoadStep::kBase);
    EXPECT_EQ(loaded.contents, contents);
    EXPECT_TRUE(loaded.deltas.empty());
    EXPECT_EQ(loaded.failed.size(), 1u);
    EXPECT_EQ(loaded.failed[0].step, LoadStep::kDelta);
    return std::string(loaded.failed[0].cause.message());
  };
  std::vector<fs::path> paths = chain(*contents, 3);
  EXPECT_TRUE(says(cause_of({.deltas = {paths[1], paths[2]}}), "leaves a gap"));
  EXPECT_TRUE(says(cause_of({.deltas = {folder_ / "nothing"}}), "No such file"));
  EXPECT_TRUE(says(cause_of({.deltas = {path}}), "this is an image, not a delta"));
  EXPECT_TRUE(says(
      cause_of({.deltas = paths, .check_deltas = [](auto&&...) { return Status::corruption("no state"); }}),
      "no state"));
  EXPECT_TRUE(says(cause_of({.deltas = std::vector<fs::path>(8, paths[0])}), "a chain of 8 links"));
  ASSERT_TRUE(write_file(paths[0], std::vector<uint8_t>(5000, 1)).ok());
  EXPECT_TRUE(says(cause_of({.deltas = paths}), "wrong magic"));
  DeltaFile foreign = delta_on(*contents, 1, contents->id);
  foreign.domain = "another";
  ASSERT_TRUE(write_delta(foreign, folder_ / "foreign").ok());
  EXPECT_TRUE(says(cause_of({.deltas = {folder_ / "foreign"}}), "another module or trust domain"));
  const ManagerCounts counts = manager.statistics().counts;
  EXPECT_EQ(counts.steps[0].failed, 7u);
  EXPECT_EQ(counts.steps[1].succeeded, 7u);
  ASSERT_EQ(lines.size(), 7u);
  EXPECT_TRUE(says(lines[0], "step delta failed: link 0 of the chain"));
}

TEST_F(ManagerTest, WithoutItsImageItStartsCold) {
  SnapshotManager manager(with_clock());
  const fs::path path = image("a", 1);
  const auto contents = manager.load_image(path).value();
  const std::vector<fs::path> deltas = chain(*contents, 1);
  manager.clear();
  ASSERT_TRUE(write_file(path, std::vector<uint8_t>(5000, 1)).ok());
  const auto cold_start = [&]() -> Result<Contents> {
    return test::contents_without_engine(test::wasm(kGuest),
                                         {std::vector<std::byte>(kMemoryBytes, std::byte{9})});
  };
  const Loaded loaded = manager.load({.image = path, .deltas = deltas, .cold_start = cold_start}).value();
  EXPECT_EQ(loaded.step, LoadStep::kColdStart);
  EXPECT_EQ(byte_of(*loaded.contents), 9);
  ASSERT_EQ(loaded.failed.size(), 2u);
  EXPECT_EQ(loaded.failed[0].step, LoadStep::kDelta);
  EXPECT_EQ(loaded.failed[1].step, LoadStep::kBase);
  EXPECT_TRUE(says(loaded.failed[1].cause.message(), "wrong magic"));
  const ManagerCounts counts = manager.statistics().counts;
  EXPECT_EQ(counts.steps[0].failed, 1u);
  EXPECT_EQ(counts.steps[1].failed, 1u);
  EXPECT_EQ(counts.steps[2].succeeded, 1u);
  // Nobody can make it anew; or he fails.
  const Result<Loaded> nobody = manager.load({.image = path});
  EXPECT_EQ(nobody.code(), Code::kCorruption);
  EXPECT_NE(error_info(nobody.status()), nullptr);
  const Result<Loaded> fails = manager.load(
      {.image = path, .cold_start = []() -> Result<Contents> { return Status::unavailable("no module"); }});
  EXPECT_EQ(fails.code(), Code::kUnavailable);
  EXPECT_TRUE(says(fails.status().message(), "a cold start: no module"));
  EXPECT_EQ(manager.statistics().counts.steps[2].failed, 1u);
  // It can be read again: then it is.
  image("a", 1);
  EXPECT_EQ(manager.load({.image = path, .deltas = deltas, .cold_start = cold_start})->step,
            LoadStep::kDelta);
}

// --- writing, verifying, telling -------------------------------------------------------------------------

TEST_F(ManagerTest, WhatIsCreatedIsThere) {
  ManagerOptions options = with_clock();
  options.write = WriteOptions::local();
  options.proofs = Proofs::open(folder_ / "proved", folder_ / "key");
  SnapshotManager manager(options);
  const Contents contents =
      test::contents_without_engine(test::wasm(kGuest), {std::vector<std::byte>(kMemoryBytes, std::byte{5})});
  const Digest id = manager.create(contents, folder_ / "made").value();
  EXPECT_TRUE(options.proofs->has(id)) << "who makes an image need not prove it";
  settle(folder_ / "made");
  const auto loaded = manager.load_image(folder_ / "made").value();
  EXPECT_EQ(loaded->id, id);
  EXPECT_TRUE(loaded->load.mapped);
  EXPECT_TRUE(options.proofs->has(id, *loaded->file)) << "the next process need not compare its hashes";
  const DeltaFile delta = manager.create(delta_on(*loaded, 1, id), folder_ / "delta").value();
  EXPECT_EQ(read_delta(folder_ / "delta")->id, delta.id);
  EXPECT_EQ(manager.create(contents, folder_ / "no/folder").code(), Code::kNotFound);
  const ManagerCounts counts = manager.statistics().counts;
  EXPECT_EQ(counts.created, 2u);
  EXPECT_EQ(counts.create_failures, 1u);
  EXPECT_EQ(counts.mapped, 1u);
  EXPECT_GT(counts.created_bytes, kMemoryBytes);
}

TEST_F(ManagerDerivedTest, AFileIsVerifiedAsIfNothingWereKnown) {
  ManagerOptions options = with_clock();
  options.proofs = Proofs::open(folder_ / "proved", folder_ / "key");
  SnapshotManager manager(options);
  const fs::path base = image("base", 1, WriteOptions::local());
  const fs::path above = derived(base, "base");
  const auto verified = manager.verify(base).value();
  EXPECT_EQ(verified.id, manager.load_image(base).value()->id);
  EXPECT_FALSE(verified.is_delta);
  EXPECT_FALSE(verified.statistics.mapped);
  EXPECT_TRUE(manager.verify(above).ok());
  const std::vector<fs::path> deltas = chain(*manager.load_image(base).value(), 1);
  EXPECT_TRUE(manager.verify(deltas[0])->is_delta);
  // What is in memory, and was proved, is no reason to believe the file.
  const UniqueFd fd(::open(base.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::pwrite(fd.get(), "x", 1, 9000), 1);
  const auto damaged = manager.verify(base);
  EXPECT_EQ(damaged.code(), Code::kCorruption);
  EXPECT_NE(error_info(damaged.status()), nullptr);
  EXPECT_EQ(manager.verify(folder_ / "nothing").code(), Code::kNotFound);
  EXPECT_EQ(manager.statistics().counts.verified, 3u);
  EXPECT_EQ(manager.statistics().counts.verify_failures, 2u);
}

TEST_F(ManagerTest, StatisticsAreToldToProgramsAndToPrometheus) {
  SnapshotManager manager(with_clock());
  EXPECT_TRUE(manager.load_image(image("a", 1)).ok());
  JsonWriter json;
  manager.statistics().write_json(json);
  const std::string text = json.take();
  EXPECT_TRUE(test::JsonCheck::is_json(text)) << text;
  EXPECT_TRUE(says(text, "\"eviction\": \"adaptive\""));
  EXPECT_TRUE(says(text, "\"bytes_max\": 134217728"));
  MetricsWriter metrics;
  manager.statistics().write_metrics(metrics);
  const std::string lines = metrics.take();
  EXPECT_TRUE(says(lines, "spore_snapshot_loads_total{from=\"file\"} 1\n"));
  EXPECT_TRUE(says(lines, "spore_snapshot_steps_total{step=\"cold_start\",outcome=\"failed\"} 0\n"));
  EXPECT_EQ(load_step_name(LoadStep::kDelta), "delta");
}

}  // namespace
}  // namespace spore::snapshot
