#include "spore/base/fd.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace spore {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string folder = (fs::temp_directory_path() / "fd_test.XXXXXX").native();
    folder_ = ::mkdtemp(folder.data());
  }
  ~FileTest() override { fs::remove_all(folder_); }

  fs::path path(std::string_view name) const { return folder_ / name; }
  fs::path make(std::string_view name, std::string_view content) const {
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_)) found.push_back(entry.path().filename());
    return found;
  }

 private:
  fs::path folder_;
};

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string content(const fs::path& path) {
  const std::vector<uint8_t> bytes = read_file(path, 1 << 20).value();
  return std::string(bytes.begin(), bytes.end());
}

// What the kernel gives to a reader with a large buffer.
std::string content_by_stream(const fs::path& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

int open_null() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

// --- UniqueFd -----------------------------------------------------------------------------------------

TEST(UniqueFdTest, ClosesWhatItHoldsOnce) {
  const int raw = open_null();
  {
    UniqueFd fd(raw);
    EXPECT_TRUE(fd.valid());
    EXPECT_EQ(fd.get(), raw);
    const UniqueFd moved = std::move(fd);
    EXPECT_FALSE(fd.valid());  // NOLINT(bugprone-use-after-move): that is what is tested
    EXPECT_EQ(moved.get(), raw);
  }
  EXPECT_FALSE(is_open(raw));
}

TEST(UniqueFdTest, AnAssignedOneClosesTheOldWithTheSource) {
  const int first = open_null();
  const int second = open_null();
  UniqueFd target(first);
  {
    UniqueFd source(second);
    target = std::move(source);
    EXPECT_EQ(target.get(), second);
  }
  EXPECT_FALSE(is_open(first));
  EXPECT_TRUE(is_open(second));
}

TEST(UniqueFdTest, AnEmptyOneClosesNothing) {
  const UniqueFd fd;
  EXPECT_FALSE(fd.valid());
  EXPECT_EQ(fd.get(), -1);
}

// --- read_file ----------------------------------------------------------------------------------------

TEST_F(FileTest, ReadsWhatIsThere) {
  std::string all(100'000, '\0');
  for (size_t i = 0; i < all.size(); i++) all[i] = static_cast<char>(i * 7);
  EXPECT_EQ(content(make("all", all)), all);
  EXPECT_EQ(content(make("empty", "")), "");
}

TEST_F(FileTest, TheLimitIsTheLargestFileThatIsRead) {
  const fs::path file = make("ten", "0123456789");
  EXPECT_TRUE(read_file(file, 11).ok());
  EXPECT_EQ(read_file(file, 10).value().size(), 10u);
  const auto above = read_file(file, 9);
  EXPECT_EQ(above.code(), Code::kLimitExceeded);
  EXPECT_EQ(above.status().message(), fmt::format("'{}' has 10 bytes, the limit is 9", file.native()));
  EXPECT_TRUE(read_file(make("empty", ""), 0).ok());
}

TEST_F(FileTest, AMissingFileIsNotFound) {
  const auto missing = read_file(path("missing"), 10);
  EXPECT_EQ(missing.code(), Code::kNotFound);
  EXPECT_EQ(missing.status().message(),
            fmt::format("open '{}': No such file or directory", path("missing").native()));
}

TEST_F(FileTest, APathThroughAFileIsAnIoError) {
  make("file", "x");
  const auto through = read_file(path("file") / "below", 10);
  EXPECT_EQ(through.code(), Code::kIo);
  EXPECT_EQ(through.status().message(),
            fmt::format("open '{}': Not a directory", (path("file") / "below").native()));
}

TEST_F(FileTest, DirectoriesAndDevicesAreRefused) {
  const auto folder = read_file(path(""), 10);
  EXPECT_EQ(folder.code(), Code::kInvalidArgument);
  EXPECT_EQ(folder.status().message(), fmt::format("'{}' is not a regular file", path("").native()));
  EXPECT_EQ(read_file("/dev/zero", 10).code(), Code::kInvalidArgument);
}

// Nobody writes into this fifo: opening it must not wait for somebody who does.
TEST_F(FileTest, AFifoIsRefusedAtOnce) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(read_file(path("fifo"), 10).code(), Code::kInvalidArgument);
}

TEST_F(FileTest, SymbolicLinksAreFollowed) {
  make("target", "here");
  fs::create_symlink("target", path("link"));
  EXPECT_EQ(content(path("link")), "here");
  fs::create_symlink("loop", path("loop"));
  EXPECT_EQ(read_file(path("loop"), 10).code(), Code::kIo);
}

// Files of /proc say that they are empty, and are not.  Those of /proc/sys give their all to the first
// read() and nothing to the next.
TEST_F(FileTest, FilesOfProcAreReadWhole) {
  EXPECT_EQ(content("/proc/self/comm"), content_by_stream("/proc/self/comm"));
  EXPECT_EQ(content("/proc/version"), content_by_stream("/proc/version"));
  EXPECT_EQ(content("/proc/sys/kernel/ostype"), content_by_stream("/proc/sys/kernel/ostype"));
  EXPECT_EQ(content("/proc/sys/vm/max_map_count"), content_by_stream("/proc/sys/vm/max_map_count"));
}

TEST_F(FileTest, TheLimitHoldsForFilesThatSayNoSize) {
  const size_t size = content_by_stream("/proc/version").size();
  EXPECT_TRUE(read_file("/proc/version", size).ok());
  const auto above = read_file("/proc/version", size - 1);
  EXPECT_EQ(above.code(), Code::kLimitExceeded);
  EXPECT_EQ(above.status().message(), fmt::format("'/proc/version' has more than {} bytes", size - 1));
}

TEST_F(FileTest, DescriptorsAreGivenBack) {
  const int before = open_null();
  ::close(before);
  EXPECT_TRUE(read_file(make("file", "x"), 10).ok());
  EXPECT_FALSE(read_file(path("file"), 0).ok());
  EXPECT_FALSE(read_file(path(""), 0).ok());
  EXPECT_TRUE(write_file(path("out"), bytes_of("x")).ok());
  EXPECT_FALSE(write_file(path("no/out"), bytes_of("x")).ok());
  const int after = open_null();
  ::close(after);
  EXPECT_EQ(after, before);
}

// --- NewFile ------------------------------------------------------------------------------------------

std::string text_of(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

// Nobody sees it before it is whole, and nothing is left of one that never was.
TEST_F(FileTest, ANewFileAppearsWholeOrNotAtAll) {
  EXPECT_TRUE(write_file(path("out"), bytes_of("before")).ok());
  {
    const NewFile given_up = NewFile::create(path("out")).value();
    EXPECT_TRUE(given_up.write_at(bytes_of("half"), 0).ok());
  }
  EXPECT_EQ(text_of(read_file(path("out"), 100).value()), "before");
  NewFile file = NewFile::create(path("out"), NewFile::kForOwner).value();
  EXPECT_TRUE(file.write_at(bytes_of("def"), 3).ok());
  EXPECT_TRUE(file.write_at(bytes_of("abc"), 0).ok());
  NewFile moved = std::move(file);
  EXPECT_EQ(text_of(read_file(path("out"), 100).value()), "before");
  EXPECT_TRUE(moved.commit().ok());
  EXPECT_EQ(text_of(read_file(path("out"), 100).value()), "abcdef");
  struct stat info{};
  ASSERT_EQ(::stat(path("out").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path("out").parent_path()), {}), 1);
}

TEST_F(FileTest, ReadingBeyondTheEndIsToldFromAFailure) {
  EXPECT_TRUE(write_file(path("out"), bytes_of("abcdef")).ok());
  const RegularFile file = open_regular(path("out"), 6).value();
  EXPECT_EQ(file.bytes, 6u);
  std::vector<uint8_t> bytes(4);
  EXPECT_TRUE(read_at(file.fd.get(), bytes, 2).ok());
  EXPECT_EQ(text_of(bytes), "cdef");
  const Status cut = read_at(file.fd.get(), bytes, 3);
  EXPECT_EQ(cut.code(), Code::kCorruption);
  EXPECT_EQ(cut.message(), "the file ends at byte 6, 1 bytes are missing");
  EXPECT_EQ(read_at(-1, bytes, 0).code(), Code::kIo);
  EXPECT_EQ(open_regular(path("out"), 5).code(), Code::kLimitExceeded);
}

// --- write_file ---------------------------------------------------------------------------------------

TEST_F(FileTest, WritesAndReplacesAndLeavesNothingElse) {
  EXPECT_TRUE(write_file(path("out"), bytes_of("first, and longer")).ok());
  EXPECT_EQ(content(path("out")), "first, and longer");
  EXPECT_TRUE(write_file(path("out"), bytes_of("second")).ok());
  EXPECT_EQ(content(path("out")), "second");
  EXPECT_TRUE(write_file(path("out"), {}).ok());
  EXPECT_EQ(content(path("out")), "");
  EXPECT_EQ(names(), std::vector<std::string>{"out"});
}

// Who has the old file open goes on reading the old file: it was replaced, not rewritten.
TEST_F(FileTest, AReaderOfTheOldFileKeepsIt) {
  const fs::path file = make("out", "old content");
  std::ifstream reader(file);
  EXPECT_EQ(reader.get(), 'o');
  EXPECT_TRUE(write_file(file, bytes_of("NEW")).ok());
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(reader), {}), "ld content");
  EXPECT_EQ(content(file), "NEW");
}

TEST_F(FileTest, PermissionsAreThoseOfTheUmask) {
  for (const mode_t mask : {0022u, 0077u, 0002u}) {
    const mode_t before = ::umask(mask);
    const Status status = write_file(path("out"), bytes_of("x"));
    EXPECT_EQ(::umask(before), mask) << "write_file() must leave the umask as it was";
    EXPECT_TRUE(status.ok()) << status.message();
    struct stat info{};
    ASSERT_EQ(::stat(path("out").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0666 & ~mask);
  }
}

TEST_F(FileTest, AMissingFolderIsNotFound) {
  const Status status = write_file(path("no/out"), bytes_of("x"));
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_TRUE(status.message().starts_with(fmt::format("create '{}", path("no/out").native())))
      << status.message();
  EXPECT_TRUE(status.message().ends_with(": No such file or directory")) << status.message();
  fs::create_directory(path("no"));
  EXPECT_TRUE(write_file(path("no/out"), bytes_of("x")).ok());
}

TEST_F(FileTest, AFolderInThePlaceIsLeftAlone) {
  fs::create_directory(path("out"));
  make("out/inside", "x");
  const Status status = write_file(path("out"), bytes_of("y"));
  EXPECT_EQ(status.code(), Code::kIo);
  EXPECT_EQ(status.message(), fmt::format("rename to '{}': Is a directory", path("out").native()));
  EXPECT_EQ(names(), std::vector<std::string>{"out"}) << "the temporary file must go";
  EXPECT_EQ(content(path("out/inside")), "x");
}

// A disk that fills up, by way of a limit on file sizes: the old file stays, no half of a new one.
TEST_F(FileTest, AFailedWriteLeavesTheOldFile) {
  const fs::path file = make("out", "old");
  const std::string large(100'000, 'x');
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  struct sigaction action_before{};
  ASSERT_EQ(::sigaction(SIGXFSZ, &ignore, &action_before), 0);
  struct rlimit limit_before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit_before), 0);
  const struct rlimit small{50'000, limit_before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);

  const Status status = write_file(file, bytes_of(large));

  ::setrlimit(RLIMIT_FSIZE, &limit_before);
  ::sigaction(SIGXFSZ, &action_before, nullptr);
  EXPECT_EQ(status.code(), Code::kIo);
  EXPECT_EQ(status.message(), fmt::format("write '{}': File too large", file.native()));
  EXPECT_EQ(content(file), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"out"});
  EXPECT_TRUE(write_file(file, bytes_of(large)).ok());
  EXPECT_EQ(content(file), large);
}

TEST_F(FileTest, ASymbolicLinkIsReplacedNotFollowed) {
  make("target", "old");
  fs::create_symlink("target", path("link"));
  EXPECT_TRUE(write_file(path("link"), bytes_of("new")).ok());
  EXPECT_FALSE(fs::is_symlink(path("link")));
  EXPECT_EQ(content(path("target")), "old");
}

// The umask belongs to the process: while another thread makes private files, writing must not touch it.
TEST_F(FileTest, WritingLeavesTheUmaskAlone) {
  const mode_t before = ::umask(0077);
  std::atomic<bool> done{false};
  std::atomic<int> open_to_all{0};
  {
    const std::jthread other([&] {
      while (!done) {
        const UniqueFd fd(::open(path("private").c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666));
        struct stat info{};
        ::fstat(fd.get(), &info);
        if ((info.st_mode & 0077) != 0) open_to_all++;
        ::unlink(path("private").c_str());
      }
    });
    for (int i = 0; i < 300; i++) EXPECT_TRUE(write_file(path("out"), {}).ok());
    done = true;
  }
  ::umask(before);
  EXPECT_EQ(open_to_all, 0);
}

}  // namespace
}  // namespace spore
