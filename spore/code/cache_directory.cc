#include "spore/code/cache_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <functional>
#include <system_error>
#include <thread>

#include "spore/code/temporary_file.h"

namespace spore::code {
namespace {

constexpr std::string_view kCodeSuffix = ".code";
constexpr std::string_view kUsesSuffix = ".uses";
constexpr std::string_view kFlightSuffix = ".flight";
constexpr const char* kLockName = "lock";
constexpr mode_t kOthersWriteMask = 022;
constexpr mode_t kDirectoryMode = 0700;
constexpr mode_t kFileMode = 0600;
constexpr double kNsPerSecond = 1e9;

// KEY.uses: nothing depends on it but the order of eviction, so it has no MAC and may hold anything.
struct UsesFile {
  uint64_t uses;
  double weight;
};
static_assert(sizeof(UsesFile) == 16);

std::string file_name(const Digest& key, std::string_view suffix) { return key.hex().append(suffix); }

// The key that `name` begins with, if what follows is `suffix`.
std::optional<Digest> key_of(std::string_view name, std::string_view suffix) {
  Digest key;
  if (name.size() != key.bytes.size() * 2 + suffix.size() || !name.ends_with(suffix)) return std::nullopt;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  for (size_t i = 0; i < key.bytes.size(); i++) {
    const int high = digit(name[i * 2]);
    const int low = digit(name[i * 2 + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    key.bytes[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return key;
}

double seconds(const timespec& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / kNsPerSecond;
}

bool is_ours(const struct stat& info) {
  return S_ISREG(info.st_mode) && info.st_uid == ::geteuid() && (info.st_mode & kOthersWriteMask) == 0;
}

std::string words(int error) { return std::generic_category().message(error); }

// Makes what is missing of `path`.
Status make_directories(const std::filesystem::path& path) {
  std::filesystem::path so_far;
  for (const std::filesystem::path& part : path) {
    so_far /= part;
    if (part.empty() || ::mkdir(so_far.c_str(), kDirectoryMode) == 0 || errno == EEXIST) continue;
    // Of what is there already some systems say something else: the last part alone decides.
    struct stat info{};
    const int error = errno;
    if (::stat(so_far.c_str(), &info) != 0) {
      return Status::from_errno(error, fmt::format("make the directory '{}'", so_far.native()));
    }
  }
  return {};
}

}  // namespace

std::string code_file_name(const Digest& key) { return file_name(key, kCodeSuffix); }
std::string flight_file_name(const Digest& key) { return file_name(key, kFlightSuffix); }

double now_s() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return seconds(now);
}

// --- locks -----------------------------------------------------------------------------------------------

FileLock::~FileLock() {
  // By hand: a forked child may have the descriptor, too, and would keep the lock.
  if (fd_.valid()) ::flock(fd_.get(), LOCK_UN);
}

Result<UniqueFd> lock_file(int directory, const std::string& name, std::chrono::milliseconds wait,
                           const std::function<bool()>& stop) {
  // flock() has no timeout, so we ask again and again, less and less often.
  constexpr std::chrono::milliseconds kPauseMax{20};
  std::chrono::milliseconds pause{1};
  const auto end = std::chrono::steady_clock::now() + wait;
  for (;;) {
    UniqueFd fd(
        ::openat(directory, name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, kFileMode));
    if (!fd.valid()) return cache_write_error(errno, fmt::format("open '{}'", name));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
      // Its last holder may have removed it: then this is a lock that nobody else will see.
      if (is_named(directory, name, fd.get())) return fd;
      continue;
    }
    if (errno != EWOULDBLOCK && errno != EINTR)
      return cache_write_error(errno, fmt::format("flock '{}'", name));
    if (std::chrono::steady_clock::now() >= end || (stop && stop())) {
      return cache_error(CacheFault::kBusy,
                         fmt::format("another process held '{}' for {} ms", name, wait.count()));
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kPauseMax);
  }
}

void unlock_and_remove(int directory, const std::string& name, UniqueFd fd) {
  if (!fd.valid()) return;
  if (is_named(directory, name, fd.get())) ::unlinkat(directory, name.c_str(), 0);
  ::flock(fd.get(), LOCK_UN);
}

Result<FileLock> CacheDirectory::lock(std::chrono::milliseconds wait) const {
  UniqueFd fd = SPORE_TRY(lock_file(fd_.get(), kLockName, wait));
  return FileLock(std::move(fd));
}

// --- the directory ---------------------------------------------------------------------------------------

Result<CacheDirectory> CacheDirectory::open(const std::filesystem::path& path, bool create) {
  // "code/" would follow a symlink of that name.
  const std::filesystem::path plain = path.has_filename() ? path : path.parent_path();
  if (create) SPORE_TRY(make_directories(plain));
  struct stat info{};
  if (::lstat(plain.c_str(), &info) == 0 && S_ISLNK(info.st_mode)) {
    return Status::invalid_argument("'{}' is a symbolic link, which is not followed", plain.native());
  }
  UniqueFd fd(::open(plain.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid() && errno == ENOTDIR) {
    return Status::invalid_argument("'{}' is not a directory", plain.native());
  }
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0) {
    return Status::from_errno(errno, fmt::format("open '{}'", plain.native()));
  }
  if (info.st_uid != ::geteuid()) {
    return Status::invalid_argument("'{}' belongs to user {}, this is user {}", plain.native(), info.st_uid,
                                    ::geteuid());
  }
  if ((info.st_mode & kOthersWriteMask) != 0) {
    return Status::invalid_argument("'{}' has mode {:04o}: others can write to it", plain.native(),
                                    info.st_mode & 07777U);
  }
  const bool writable =
      (info.st_mode & S_IWUSR) != 0 && ::faccessat(fd.get(), ".", W_OK | X_OK, AT_EACCESS) == 0;
  return CacheDirectory(std::move(fd), writable);
}

Result<CacheDirectory::File> CacheDirectory::open_file(const Digest& key) const {
  const std::string name = code_file_name(key);
  // O_NONBLOCK: a fifo in its place must not hang us before we see what it is.
  UniqueFd fd(::openat(fd_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT) return Status::not_found("there is no '{}'", name);
  if (!fd.valid() && errno == ELOOP) return cache_error(CacheFault::kForeign, "it is a symbolic link");
  struct stat info{};
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0) {
    return cache_error(CacheFault::kRead, fmt::format("open: {}", words(errno)));
  }
  if (!is_ours(info)) {
    return cache_error(CacheFault::kForeign,
                       fmt::format("mode {:o} of user {}: not a file that only user {} can write to",
                                   info.st_mode, info.st_uid, ::geteuid()));
  }
  return File{
      .fd = std::move(fd), .bytes = static_cast<uint64_t>(info.st_size), .last_use_s = seconds(info.st_mtim)};
}

Result<CacheHeader> CacheDirectory::read_header(const File& file, const Digest& key) const {
  std::array<uint8_t, kCacheHeaderBytesMax> bytes;
  const std::span<uint8_t> begin = std::span(bytes).first(std::min<uint64_t>(bytes.size(), file.bytes));
  SPORE_TRY(read_at(file.fd.get(), begin, 0));
  CacheHeader header = SPORE_TRY(decode_cache_header(begin, file.bytes));
  if (header.key != key) {
    return cache_error(CacheFault::kMisnamed, fmt::format("its key is {:.12}", header.key.hex()));
  }
  return header;
}

Status CacheDirectory::write_file(const CacheHeader& header, const CachePayload& payload,
                                  const MacKey& mac_key) const {
  TemporaryFile file = SPORE_TRY(TemporaryFile::create(fd_.get(), code_file_name(header.key)));
  SPORE_TRY(write_cache_file(file.fd(), header, payload, mac_key));
  return file.replace();
}

bool CacheDirectory::remove_file(const Digest& key, int fd) const {
  const std::string name = code_file_name(key);
  struct stat info{};
  if (::fstatat(fd_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return false;
  if (!S_ISREG(info.st_mode) || info.st_uid != ::geteuid()) return false;
  // Meanwhile another process may have put a good one there.
  if (fd >= 0 && !is_named(fd_.get(), name, fd)) return false;
  if (::unlinkat(fd_.get(), name.c_str(), 0) != 0) return false;
  ::unlinkat(fd_.get(), file_name(key, kUsesSuffix).c_str(), 0);
  return true;
}

// --- uses ------------------------------------------------------------------------------------------------

Usage CacheDirectory::usage_of(const Digest& key, double last_s) const {
  Usage usage{.last_s = last_s};
  const UniqueFd fd(::openat(fd_.get(), file_name(key, kUsesSuffix).c_str(),
                             O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  UsesFile uses{};
  std::array<uint8_t, sizeof uses> bytes;
  if (!fd.valid() || !read_at(fd.get(), bytes, 0).ok()) return usage;  // it was never used
  std::memcpy(&uses, bytes.data(), sizeof uses);
  usage.uses = uses.uses;
  if (std::isfinite(uses.weight)) usage.weight = std::max(0.0, uses.weight);
  return usage;
}

void CacheDirectory::note_use(const Digest& key, const File& file) const {
  if (!writable_) return;
  Usage usage = usage_of(key, file.last_use_s);
  add_use(usage, now_s());
  const UniqueFd fd(::openat(fd_.get(), file_name(key, kUsesSuffix).c_str(),
                             O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, kFileMode));
  const UsesFile uses{.uses = usage.uses, .weight = usage.weight};
  std::array<uint8_t, sizeof uses> bytes;
  std::memcpy(bytes.data(), &uses, sizeof uses);
  // What is not counted makes eviction a little worse, no more.
  if (fd.valid()) static_cast<void>(write_at(fd.get(), bytes, 0));
  static_cast<void>(::futimens(file.fd.get(), nullptr));
}

// --- all of them -----------------------------------------------------------------------------------------

Result<std::vector<CacheEntry>> CacheDirectory::entries() const {
  const std::vector<std::string> names = SPORE_TRY(names_in(fd_.get()));
  std::vector<CacheEntry> entries;
  for (const std::string& name : names) {
    const std::optional<Digest> key = key_of(name, kCodeSuffix);
    if (!key) continue;
    CacheEntry entry{.key = *key};
    Result<File> file = open_file(*key);
    if (file.code() == Code::kNotFound) continue;  // evicted meanwhile
    if (file.ok()) {
      entry.bytes = file->bytes;
      entry.usage = usage_of(*key, file->last_use_s);
      entry.usage.stored_s = file->last_use_s;
      Result<CacheHeader> header = read_header(file.value(), *key);
      if (header.ok()) {
        entry.usage.stored_s = static_cast<double>(header->stored_s);
        entry.header = std::move(header).value();
      } else {
        entry.status = std::move(header).status();
      }
    } else {
      entry.status = std::move(file).status();
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

CacheDirectory::Size CacheDirectory::size() const {
  Size size;
  const Result<std::vector<std::string>> names = names_in(fd_.get());
  if (!names.ok()) return size;
  for (const std::string& name : names.value()) {
    struct stat info{};
    if (!key_of(name, kCodeSuffix)) continue;
    if (::fstatat(fd_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode))
      continue;
    size.files++;
    size.bytes += static_cast<uint64_t>(info.st_size);
  }
  return size;
}

Status CacheDirectory::check(const Digest& key, const MacKey& mac_key) const {
  const File file = SPORE_TRY(open_file(key));
  const CacheHeader header = SPORE_TRY(read_header(file, key));
  return check_cache_file(file.fd.get(), header, mac_key, -1, 1);
}

Result<Pruned> CacheDirectory::prune(const PruneLimits& limits) const {
  const std::vector<CacheEntry> entries = SPORE_TRY(this->entries());
  const double now = now_s();
  Pruned pruned;
  uint64_t bytes = 0;
  const auto remove = [&](const CacheEntry& entry) {
    if (!remove_file(entry.key, -1)) return false;
    pruned.files++;
    pruned.bytes += entry.bytes;
    return true;
  };
  std::vector<const CacheEntry*> left;
  std::vector<EvictionCandidate> candidates;
  for (const CacheEntry& entry : entries) {
    const bool kept = entry.key == limits.keep;
    const bool too_old = (limits.unused_s_max > 0 && now - entry.usage.last_s > limits.unused_s_max) ||
                         (limits.age_s_max > 0 && now - entry.usage.stored_s > limits.age_s_max);
    if (!kept && too_old && remove(entry)) continue;
    bytes += entry.bytes;
    if (kept) continue;
    left.push_back(&entry);
    candidates.push_back({.usage = entry.usage,
                          .bytes = entry.bytes,
                          .compile_ns = entry.header ? entry.header->compile_ns : 0});
  }
  if (limits.bytes_max == 0) return pruned;
  for (const size_t place : eviction_order(candidates, limits.eviction, now)) {
    if (bytes <= limits.bytes_max) break;
    if (remove(*left[place])) bytes -= left[place]->bytes;
  }
  return pruned;
}

void CacheDirectory::remove_stale() const {
  remove_stale_temporaries(fd_.get(), "");
  const Result<std::vector<std::string>> names = names_in(fd_.get());
  if (!names.ok()) return;  // so nothing can be removed
  for (const std::string& name : names.value()) {
    if (const std::optional<Digest> key = key_of(name, kUsesSuffix)) {
      struct stat info{};
      const bool gone = ::fstatat(fd_.get(), code_file_name(*key).c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0;
      if (gone && errno == ENOENT) ::unlinkat(fd_.get(), name.c_str(), 0);
    } else if (key_of(name, kFlightSuffix)) {
      Result<UniqueFd> fd = lock_file(fd_.get(), name, std::chrono::milliseconds(0));
      if (fd.ok()) unlock_and_remove(fd_.get(), name, std::move(fd).value());
    }
  }
}

}  // namespace spore::code
