#pragma once

// Errors as values: Status and Result<T>.  Why our own: CONTRIBUTING.md, "Errors".

#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "spore/base/assert.h"

namespace spore {

// What went wrong, for programs.  People read the message.
enum class Code : uint8_t {
  kOk,
  kInvalidArgument,   // the caller's words are wrong: a bad flag, a wrong type or count
  kInvalidModule,     // the bytes are not a module that this build takes
  kNotFound,          // no such file, module, export
  kAlreadyExists,     // the name is taken
  kUnsupported,       // well-formed, but beyond this build or this version
  kCorruption,        // bytes that were written by us are not as written
  kLimitExceeded,     // a named limit was reached; the message names it
  kDeadlineExceeded,  // the call ran longer than its deadline
  kCancelled,         // somebody asked for the end
  kTrap,              // the guest trapped; see trap_info()
  kExited,            // the guest ended itself (WASI's proc_exit); see Wasi::exit_code()
  kHostError,         // a host function failed
  kUnavailable,       // closed, or not possible in this process at this time
  kIo,                // the operating system said no
  kInternal,          // a bug of ours, or of a library's
};

// "trap", "limit_exceeded": the same words in messages, JSON and metrics.
std::string_view code_name(Code code);

// Success (a null pointer) or a code with a message.  Move-only, cheap to return.
class [[nodiscard]] Status {
 public:
  // What a layer adds for programs to read, beyond the code: engine's TrapInfo.
  class Attachment {
   public:
    virtual ~Attachment() = default;
  };

  Status() = default;
  Status(Code code, std::string message);

  template <typename... Args>
  static Status make(Code code, fmt::format_string<Args...> format, Args&&... args) {
    return Status(code, fmt::format(format, std::forward<Args>(args)...));
  }

// One factory a code: Status::not_found("no export named '{}'", name).
#define SPORE_STATUS_FACTORY(name, code)                                         \
  template <typename... Args>                                                    \
  static Status name(fmt::format_string<Args...> format, Args&&... args) {       \
    return Status(Code::code, fmt::format(format, std::forward<Args>(args)...)); \
  }
  SPORE_STATUS_FACTORY(invalid_argument, kInvalidArgument)
  SPORE_STATUS_FACTORY(invalid_module, kInvalidModule)
  SPORE_STATUS_FACTORY(not_found, kNotFound)
  SPORE_STATUS_FACTORY(already_exists, kAlreadyExists)
  SPORE_STATUS_FACTORY(unsupported, kUnsupported)
  SPORE_STATUS_FACTORY(corruption, kCorruption)
  SPORE_STATUS_FACTORY(limit_exceeded, kLimitExceeded)
  SPORE_STATUS_FACTORY(deadline_exceeded, kDeadlineExceeded)
  SPORE_STATUS_FACTORY(cancelled, kCancelled)
  SPORE_STATUS_FACTORY(host_error, kHostError)
  SPORE_STATUS_FACTORY(exited, kExited)
  SPORE_STATUS_FACTORY(unavailable, kUnavailable)
  SPORE_STATUS_FACTORY(internal, kInternal)
#undef SPORE_STATUS_FACTORY

  // "open 'x.wasm': No such file or directory", from errno; kNotFound for ENOENT, else kIo.
  static Status from_errno(int error, std::string_view what);

  bool ok() const { return rep_ == nullptr; }
  Code code() const { return rep_ == nullptr ? Code::kOk : rep_->code; }
  // One line.  Empty when ok.
  std::string_view message() const;
  // Further lines for people, such as a backtrace; often empty.
  std::string_view detail() const;
  const Attachment* attachment() const { return rep_ == nullptr ? nullptr : rep_->attachment.get(); }

  // Puts "context: " before the message.  No effect when ok.
  Status with_context(std::string_view context) &&;
  Status with_detail(std::string detail) &&;
  Status with_attachment(std::shared_ptr<const Attachment> attachment) &&;

  // Statuses are moved, as a rule; a copy is asked for by name.
  Status copy() const;

 private:
  struct Rep {
    Code code;
    std::string message;
    std::string detail;
    std::shared_ptr<const Attachment> attachment;
  };
  std::unique_ptr<Rep> rep_;
};

// A value or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT(google-explicit-constructor)
  Result(Status status)                          // NOLINT(google-explicit-constructor)
      : has_value_(false), status_(std::move(status)) {
    SPORE_ASSERT(!status_.ok(), "a Result without a value needs an error");
  }
  Result(Result&& other) noexcept(std::is_nothrow_move_constructible_v<T>)
      : has_value_(other.has_value_), status_(std::move(other.status_)) {
    if (has_value_) new (&value_) T(std::move(other.value_));
  }
  Result& operator=(Result&&) = delete;
  ~Result() {
    if (has_value_) value_.~T();
  }

  bool ok() const { return has_value_; }
  Code code() const { return status_.code(); }
  const Status& status() const& { return status_; }
  Status status() && { return std::move(status_); }

  T& value() & {
    SPORE_ASSERT(has_value_, status_.message());
    return value_;
  }
  const T& value() const& {
    SPORE_ASSERT(has_value_, status_.message());
    return value_;
  }
  T&& value() && {
    SPORE_ASSERT(has_value_, status_.message());
    return std::move(value_);
  }
  T value_or(T other) && { return has_value_ ? std::move(value_) : std::move(other); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  bool has_value_ = true;
  Status status_;
  union {
    T value_;
  };
};

namespace internal {
inline void take_value(Status&&) {}
template <typename T>
T take_value(Result<T>&& result) {
  return std::move(result).value();
}
inline Status take_status(Status&& status) { return std::move(status); }
template <typename T>
Status take_status(Result<T>&& result) {
  return std::move(result).status();
}
}  // namespace internal

// SPORE_TRY(f());  or  auto x = SPORE_TRY(g());  returns the error from the enclosing function.
// A GNU statement expression: only as a whole statement or all that is right of `=`.
#define SPORE_TRY(expression)                                             \
  ({                                                                      \
    auto spore_try_result = (expression);                                 \
    if (!spore_try_result.ok()) [[unlikely]]                              \
      return ::spore::internal::take_status(std::move(spore_try_result)); \
    ::spore::internal::take_value(std::move(spore_try_result));           \
  })

}  // namespace spore
