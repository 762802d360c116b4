#include "spore/base/status.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace spore {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kOk: return "ok";
    case Code::kInvalidArgument: return "invalid_argument";
    case Code::kInvalidModule: return "invalid_module";
    case Code::kNotFound: return "not_found";
    case Code::kAlreadyExists: return "already_exists";
    case Code::kUnsupported: return "unsupported";
    case Code::kCorruption: return "corruption";
    case Code::kLimitExceeded: return "limit_exceeded";
    case Code::kDeadlineExceeded: return "deadline_exceeded";
    case Code::kCancelled: return "cancelled";
    case Code::kTrap: return "trap";
    case Code::kExited: return "exited";
    case Code::kHostError: return "host_error";
    case Code::kUnavailable: return "unavailable";
    case Code::kIo: return "io";
    case Code::kInternal: return "internal";
  }
  return "unknown";
}

Status::Status(Code code, std::string message)
    : rep_(std::make_unique<Rep>(Rep{code, std::move(message), {}, {}})) {
  SPORE_ASSERT(code != Code::kOk, "an error needs a code");
}

Status Status::from_errno(int error, std::string_view what) {
  const Code code = error == ENOENT ? Code::kNotFound : Code::kIo;
  return make(code, "{}: {}", what, std::strerror(error));
}

std::string_view Status::message() const { return rep_ == nullptr ? std::string_view() : rep_->message; }

std::string_view Status::detail() const { return rep_ == nullptr ? std::string_view() : rep_->detail; }

Status Status::with_context(std::string_view context) && {
  if (rep_ != nullptr) rep_->message = fmt::format("{}: {}", context, rep_->message);
  return std::move(*this);
}

Status Status::with_detail(std::string detail) && {
  if (rep_ != nullptr) rep_->detail = std::move(detail);
  return std::move(*this);
}

Status Status::with_attachment(std::shared_ptr<const Attachment> attachment) && {
  if (rep_ != nullptr) rep_->attachment = std::move(attachment);
  return std::move(*this);
}

Status Status::copy() const {
  Status result;
  if (rep_ != nullptr) result.rep_ = std::make_unique<Rep>(*rep_);
  return result;
}

namespace internal {

void assert_failed(const char* file, int line, const char* condition, std::string_view message) {
  std::fprintf(stderr, "spore: %s:%d: assertion failed: %s: %.*s\n", file, line, condition,
               static_cast<int>(message.size()), message.data());
  std::abort();
}

}  // namespace internal
}  // namespace spore
