// A file appears whole or not at all, whatever happens meanwhile.

#include "spore/snapshot/writer.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/snapshot/delta_file.h"
#include "tests/snapshot_format.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;

class WriterTest : public test::SnapshotFormat {
 protected:
  static Contents contents_of(size_t mebibytes, uint8_t fill) {
    std::vector<std::byte> memory(mebibytes << 20);
    uint32_t random = fill;
    for (std::byte& byte : memory) {
      random = random * 1'664'525 + 1'013'904'223;
      byte = static_cast<std::byte>(random >> 24);
    }
    return test::contents_without_engine(test::wasm(fmt::format("(module (memory {}))", mebibytes * 16)),
                                         {memory});
  }
  size_t files() const { return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {})); }
};

// The outcome of `run` in a process that may write files of so many bytes at most: as on a disk that is full,
// the kernel refuses what is beyond.
int with_file_limit(rlim_t bytes, const std::function<int()>& run) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);  // then it is EFBIG
    const rlimit limit{.rlim_cur = bytes, .rlim_max = bytes};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(90);
    ::_exit(run());
  }
  int status = 0;
  SPORE_ASSERT(::waitpid(child, &status, 0) == child, "a child");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 91;
}

// Goal: where there is no room for all of it, there is kIo, and neither a file nor a temporary one is left; a
// file that was there before is as it was.  Method: limits from nothing to all but the last byte.
TEST_F(WriterTest, WithoutRoomNothingIsLeft) {
  const Contents contents = contents_of(3, 1);
  const DeltaFile delta{
      .cell = "c", .sequence = 1, .parent = contents.manifest.module, .delta = std::vector<uint8_t>(5000, 1)};
  for (const WriteOptions& options :
       {test::kUncompressed, WriteOptions::local(), WriteOptions{.level = 1, .progress = {}}}) {
    const fs::path path = folder_ / "image";
    ASSERT_TRUE(write(contents, path, options).ok());
    const uint64_t bytes = fs::file_size(path);
    const std::vector<uint8_t> before = read_file(path, size_t{1} << 30).value();
    for (const uint64_t limit : {uint64_t{0}, uint64_t{1}, uint64_t{4096}, bytes / 2, bytes - 1}) {
      const int outcome = with_file_limit(limit, [&] {
        const Result<Digest> result = write(contents, path, options);
        if (result.code() != Code::kIo) return 1;
        const ErrorInfo* info = error_info(result.status());
        return info != nullptr && info->kind == ErrorKind::kIo ? 0 : 2;
      });
      ASSERT_EQ(outcome, 0) << limit;
      ASSERT_EQ(files(), 1u) << limit;
      ASSERT_EQ(read_file(path, size_t{1} << 30).value(), before);
    }
    EXPECT_EQ(with_file_limit(bytes, [&] { return write(contents, path, options).ok() ? 0 : 1; }), 0)
        << "enough";
    fs::remove(path);
  }
  for (const uint64_t limit : {100, 4096, 9000}) {
    EXPECT_EQ(with_file_limit(limit,
                              [&] {
                                return write_delta(delta, folder_ / "delta", test::kUncompressed).code() ==
                                               Code::kIo
                                           ? 0
                                           : 1;
                              }),
              0);
    EXPECT_EQ(files(), 0u);
  }
}

// Two threads write to one path, again and again, while others read it: each time it is one of both files.
TEST_F(WriterTest, OfTwoWritersOneWins) {
  const Contents first = contents_of(2, 1);
  const Contents second = contents_of(2, 2);
  const fs::path path = folder_ / "image";
  const Digest first_id = write(first, path, test::kUncompressed).value();
  const Digest second_id = write(second, folder_ / "other", test::kUncompressed).value();
  fs::remove(folder_ / "other");
  ASSERT_NE(first_id, second_id);
  std::atomic<int> left{2};
  std::vector<std::jthread> writers;
  for (const Contents* contents : {&first, &second}) {
    writers.emplace_back([&, contents] {
      for (int i = 0; i < 20; i++) EXPECT_TRUE(write(*contents, path, test::kUncompressed).ok());
      left--;
    });
  }
  size_t reads = 0;
  while (left > 0 || reads == 0) {
    const Result<Contents> read_one = read(path, {.validation = Validation::kChecksum, .progress = {}});
    ASSERT_TRUE(read_one.ok()) << read_one.status().message();
    ASSERT_TRUE(read_one->id == first_id || read_one->id == second_id);
    reads++;
  }
  writers.clear();
  EXPECT_EQ(files(), 1u);
}

// Processes do, too, and one that is killed in the middle leaves the file as it was.
TEST_F(WriterTest, AWriterThatIsKilledLeavesTheFileAsItWas) {
  const Contents contents = contents_of(8, 1);
  const fs::path path = folder_ / "image";
  const Digest id = write(contents, path, test::kUncompressed).value();
  const pid_t child = ::fork();
  if (child == 0) {
    const Contents other = contents_of(8, 2);
    WriteOptions options = test::kUncompressed;
    options.parallel = false;
    options.progress = [](uint64_t done, uint64_t all) {
      if (done > all / 2) ::kill(::getpid(), SIGKILL);
    };
    ::_exit(write(other, path, options).ok() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(read(path).value().id, id);
  EXPECT_TRUE(write(contents, path, test::kUncompressed).ok());
}

}  // namespace
}  // namespace spore::snapshot
