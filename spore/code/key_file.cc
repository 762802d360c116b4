#include "spore/code/key_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "spore/code/temporary_file.h"

namespace spore::code {
namespace {

constexpr mode_t kOthersMask = 077;

// Key bytes on their way; wiped.
struct Secret {
  std::array<uint8_t, MacKey::kBytes> bytes{};

  Secret() = default;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { ::explicit_bzero(bytes.data(), bytes.size()); }
};

Result<MacKey> read_key(const std::filesystem::path& path) {
  // O_NONBLOCK: a fifo in its place must not hang us before we see what it is.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid() && errno == ELOOP) {
    return Status::invalid_argument("the key '{}' is a symbolic link, which is not followed", path.native());
  }
  if (!fd.valid()) return Status::from_errno(errno, fmt::format("open the key '{}'", path.native()));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) {
    return Status::from_errno(errno, fmt::format("stat the key '{}'", path.native()));
  }
  if (!S_ISREG(info.st_mode)) {
    return Status::invalid_argument("the key '{}' is not a regular file", path.native());
  }
  if (info.st_uid != ::geteuid()) {
    return Status::invalid_argument("the key '{}' belongs to user {}, this is user {}", path.native(),
                                    info.st_uid, ::geteuid());
  }
  if ((info.st_mode & kOthersMask) != 0) {
    return Status::invalid_argument(
        "the key '{}' has mode {:04o}: others could know it; remove it, and what was cached", path.native(),
        info.st_mode & 07777U);
  }
  if (info.st_size != static_cast<off_t>(MacKey::kBytes)) {
    return Status::invalid_argument("the key '{}' has {} bytes instead of {}", path.native(), info.st_size,
                                    MacKey::kBytes);
  }
  Secret secret;
  Status status = read_at(fd.get(), secret.bytes, 0);
  if (!status.ok()) return std::move(status).with_context(fmt::format("the key '{}'", path.native()));
  return MacKey(secret.bytes);
}

Status make_key(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const UniqueFd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return Status::from_errno(errno, fmt::format("open '{}'", folder.native()));
  const std::string name = path.filename().native();
  remove_stale_temporaries(directory.get(), name);
  Secret secret;
  if (::getrandom(secret.bytes.data(), secret.bytes.size(), 0) != static_cast<ssize_t>(secret.bytes.size())) {
    return Status::from_errno(errno, "draw a random key");
  }
  TemporaryFile file = SPORE_TRY(TemporaryFile::create(directory.get(), name));
  SPORE_TRY(write_at(file.fd(), secret.bytes, 0));
  Status status = file.publish();
  // Another process was first: its key is as good.
  if (status.code() == Code::kAlreadyExists) return {};
  return status;
}

}  // namespace

Result<MacKey> open_key_file(const std::filesystem::path& path) {
  Result<MacKey> key = read_key(path);
  if (key.code() != Code::kNotFound) return key;
  Status made = make_key(path);
  if (!made.ok()) return std::move(made).with_context(fmt::format("making the key '{}'", path.native()));
  return read_key(path);
}

}  // namespace spore::code
