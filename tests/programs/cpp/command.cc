// A C++ program that uses what WASI offers as a C++ program does.  What it does: ../README.md.
// Debian's libc++ for wasm has no files (std::fstream, std::filesystem) and no exceptions: files are C's and
// POSIX's.

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

extern char** environ;

namespace {

using Words = std::vector<std::string>;

// --- helpers -------------------------------------------------------------------------------------------

std::string kind(int error) {
  static const std::map<int, std::string> names{{0, "done"},
                                                {ENOENT, "not found"},
                                                {EEXIST, "exists"},
                                                {ENOTEMPTY, "not empty"},
                                                {EISDIR, "is a directory"},
                                                {ENOTDIR, "not a directory"}};
  const auto found = names.find(error);
  return found == names.end() ? std::strerror(error) : found->second;
}

// What the last call, which returned `result`, came to.
std::string outcome(int result) { return kind(result < 0 ? errno : 0); }

[[noreturn]] void fail(const std::string& what) {
  std::cerr << what << ": " << std::strerror(errno) << '\n';
  std::exit(1);
}

// An open file, closed on destruction.
class File {
 public:
  File(std::string path, const char* mode)
      : path_(std::move(path)), file_(std::fopen(path_.c_str(), mode), &std::fclose) {}

  bool is_open() const { return file_ != nullptr; }
  long position() const { return std::ftell(file_.get()); }
  void seek(long offset, int from) {
    if (std::fseek(file_.get(), offset, from) != 0) fail(path_);
  }
  void write(std::string_view text) {
    if (!is_open() || std::fwrite(text.data(), 1, text.size(), file_.get()) != text.size()) fail(path_);
  }
  // Up to `bytes_max` bytes; fewer only at the end.
  std::string read(size_t bytes_max) {
    if (!is_open()) fail(path_);
    std::string bytes(bytes_max, '\0');
    bytes.resize(std::fread(bytes.data(), 1, bytes_max, file_.get()));
    return bytes;
  }

 private:
  std::string path_;
  std::unique_ptr<FILE, int (*)(FILE*)> file_;
};

std::string content(const std::string& path) { return File(path, "rb").read(1 << 16); }

struct stat status_of(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) fail(path);
  return status;
}

// The names in a folder, sorted.
Words list(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(folder.c_str()), ::closedir);
  if (dir == nullptr) fail(folder);
  Words names;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// --- args, env, lines, cat -----------------------------------------------------------------------------

int args(const std::string& program, const Words& words) {
  std::string name = program.substr(program.find_last_of('/') + 1);
  if (name.ends_with(".wasm")) name.resize(name.size() - 5);
  std::cout << "program: " << name << "\nwords: " << words.size() << '\n';
  for (size_t i = 0; i < words.size(); i++) {
    std::cout << i + 1 << " (" << words[i].size() << " bytes): " << words[i] << '\n';
  }
  return 0;
}

int env(const Words& names) {
  for (const std::string& name : names) {
    const char* value = std::getenv(name.c_str());
    std::cout << name << (value == nullptr ? " is not set" : "=" + std::string(value)) << '\n';
  }
  if (!names.empty()) return 0;
  Words all;
  for (char** each = environ; each != nullptr && *each != nullptr; each++) all.emplace_back(*each);
  std::sort(all.begin(), all.end());
  for (const std::string& line : all) std::cout << line << '\n';
  return 0;
}

int lines() {
  const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  int number = 0;
  bool at_start = true;
  for (const char c : text) {
    if (at_start) std::cout << ++number << ": ";
    std::cout << static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    at_start = c == '\n';
  }
  std::cerr << "lines: " << number << ", bytes: " << text.size() << '\n';
  return 0;
}

int cat(const std::string& path) {
  File file(path, "rb");
  if (!file.is_open()) {
    std::cerr << "cat: cannot read " << path << '\n';
    return 1;
  }
  for (std::string piece = file.read(4096); !piece.empty(); piece = file.read(4096)) std::cout << piece;
  return 0;
}

// --- files ---------------------------------------------------------------------------------------------

void small_file(const std::string& folder) {
  const std::string notes = folder + "/notes.txt";
  const std::string journal = folder + "/journal.txt";
  File(notes, "wb").write("first, of two\nsecond line\n");
  File(notes, "ab").write("appended\n");
  std::cout << "size: " << status_of(notes).st_size << '\n' << content(notes);

  {
    File file(notes, "r+b");
    file.seek(7, SEEK_SET);
    std::cout << "seek: " << file.position() << '\n';
    file.write("OF TWO");
    std::cout << "at: " << file.position() << '\n';
    file.seek(-9, SEEK_END);
    std::cout << "end: " << file.position() << '\n';
    std::cout << "tail: " << file.read(8) << '\n';
  }
  if (::truncate(notes.c_str(), 13) != 0) fail(notes);
  std::cout << "truncated: " << status_of(notes).st_size << '\n' << content(notes) << '\n';

  std::cout << "rename: " << outcome(std::rename(notes.c_str(), journal.c_str())) << '\n';
  struct stat status{};
  std::cout << "old name: " << outcome(::stat(notes.c_str(), &status)) << '\n';
  std::cout << "new name: " << outcome(::stat(journal.c_str(), &status)) << '\n';
  const auto modified = std::chrono::system_clock::from_time_t(status.st_mtime);
  const auto age = std::chrono::system_clock::now() - modified;
  const bool lately = age > -std::chrono::minutes(1) && age < std::chrono::hours(24);
  std::cout << "modified: " << (lately ? "lately" : "long ago") << '\n';
}

// Written and read in pieces of different lengths.
void big_file(const std::string& folder) {
  const std::string path = folder + "/big.bin";
  std::string bytes((1 << 20) + 17, '\0');
  for (uint32_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<char>((i * 31 + 7) >> 3);
  {
    File file(path, "wb");
    for (size_t at = 0; at < bytes.size(); at += 60001) file.write(std::string_view(bytes).substr(at, 60001));
  }

  File file(path, "rb");
  uint32_t hash = 2166136261u;
  size_t total = 0;
  for (std::string piece = file.read(4093); !piece.empty(); piece = file.read(4093)) {
    hash = std::accumulate(piece.begin(), piece.end(), hash, [](uint32_t sum, char c) {
      return (sum ^ static_cast<unsigned char>(c)) * 16777619u;
    });
    total += piece.size();
  }
  std::cout << "big: " << status_of(path).st_size << " bytes, " << total << " read, hash " << std::hex
            << std::setw(8) << std::setfill('0') << hash << std::dec << '\n';
}

// More entries than one answer of the host holds.
void many_files(const std::string& folder) {
  for (int i = 0; i < 300; i++) {
    std::ostringstream name;
    name << folder << "/item-" << std::setw(3) << std::setfill('0') << i;
    File(name.str(), "wb").write(std::string_view("abcdef").substr(static_cast<size_t>(6 - i % 7)));
  }
  if (::mkdir((folder + "/inner").c_str(), 0755) != 0) fail("inner");

  const Words names = list(folder);
  long long bytes = 0;
  std::cout << "entries: " << names.size() << '\n';
  for (size_t i = 0; i < names.size(); i++) {
    const struct stat status = status_of(folder + "/" + names[i]);
    const bool is_folder = S_ISDIR(status.st_mode);
    if (!is_folder) bytes += status.st_size;
    if (i < 3 || i + 5 > names.size()) std::cout << (is_folder ? "  folder " : "  file ") << names[i] << '\n';
  }
  std::cout << "bytes in all: " << bytes << '\n';
}

void wrong_uses(const std::string& folder) {
  const auto opening = [&](const char* name, int flags) {
    return outcome(::open((folder + "/" + name).c_str(), flags, 0644));
  };
  std::cout << "open missing: " << opening("missing", O_RDONLY) << '\n';
  std::cout << "create what is there: " << opening("item-000", O_WRONLY | O_CREAT | O_EXCL) << '\n';
  std::cout << "write to a folder: " << opening("inner", O_WRONLY) << '\n';
  DIR* as_folder = ::opendir((folder + "/item-000").c_str());
  std::cout << "list a file: " << outcome(as_folder == nullptr ? -1 : 0) << '\n';
  std::cout << "remove a full folder: " << outcome(::rmdir(folder.c_str())) << '\n';
  std::cout << "unlink missing: " << outcome(::unlink((folder + "/missing").c_str())) << '\n';
}

void remove_all(const std::string& folder) {
  for (const std::string& name : list(folder)) {
    const std::string path = folder + "/" + name;
    if ((name == "inner" ? ::rmdir(path.c_str()) : ::unlink(path.c_str())) != 0) fail(path);
  }
  std::cout << "left: " << list(folder).size() << '\n';
  std::cout << "remove the folder: " << outcome(::rmdir(folder.c_str())) << '\n';
}

int files(const std::string& top) {
  const std::string folder = top + "/work";
  std::cout << "make a folder: " << outcome(::mkdir(folder.c_str(), 0755)) << '\n';
  std::cout << "and again: " << outcome(::mkdir(folder.c_str(), 0755)) << '\n';
  small_file(folder);
  big_file(folder);
  many_files(folder);
  wrong_uses(folder);
  remove_all(folder);
  File(top + "/kept.txt", "wb").write("kept by the guest\n");
  return 0;
}

// --- machine -------------------------------------------------------------------------------------------

int machine() {
  using std::chrono::steady_clock;
  const steady_clock::time_point begin = steady_clock::now();
  const timespec pause{.tv_sec = 0, .tv_nsec = 20'000'000};  // no std::this_thread without threads
  ::nanosleep(&pause, nullptr);
  const std::chrono::duration<double> slept = steady_clock::now() - begin;
  std::cout << "slept: " << (slept.count() >= 0.02 && slept.count() < 5 ? "20 ms" : "wrong") << '\n';
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  std::cout << "year: " << (since_epoch > std::chrono::seconds(1'600'000'000) ? "after 2020" : "wrong")
            << '\n';
  std::random_device device;
  std::array<std::array<unsigned, 4>, 2> random{};
  for (auto& draw : random) std::generate(draw.begin(), draw.end(), std::ref(device));
  std::cout << "random: " << (random[0] != random[1] ? "differs" : "the same") << '\n';
  return 0;
}

int usage() {
  std::cerr << "usage: args | env | lines | files FOLDER | cat PATH | machine | fail CODE WORDS | crash\n";
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return usage();
  const std::string command = argv[1];
  const Words words(argv + 2, argv + argc);
  if (command == "args") return args(argv[0], words);
  if (command == "env") return env(words);
  if (command == "lines") return lines();
  if (command == "files" && words.size() == 1) return files(words[0]);
  if (command == "cat" && words.size() == 1) return cat(words[0]);
  if (command == "machine") return machine();
  if (command == "crash") std::abort();
  if (command == "fail" && !words.empty()) {
    for (size_t i = 1; i < words.size(); i++) std::cerr << words[i] << (i + 1 < words.size() ? ' ' : '\n');
    return std::atoi(words[0].c_str());
  }
  return usage();
}
