#include "spore/code/cache_fault.h"

#include <array>
#include <cerrno>
#include <memory>
#include <system_error>

namespace spore::code {
namespace {

constexpr std::array<std::string_view, kCacheFaults> kNames{
    "foreign", "format",    "version", "truncated", "misnamed", "mac",       "engine", "read",
    "memory",  "directory", "key",     "full",      "write",    "too_large", "busy"};
static_assert(static_cast<size_t>(CacheFault::kBusy) + 1 == kCacheFaults);

struct FaultAttachment final : Status::Attachment {
  explicit FaultAttachment(CacheFault of) : fault(of) {}
  CacheFault fault;
};

}  // namespace

std::string_view cache_fault_name(CacheFault fault) { return kNames[static_cast<size_t>(fault)]; }

Status cache_error(CacheFault fault, std::string message) {
  const Code code = fault <= CacheFault::kRead ? Code::kCorruption : Code::kUnavailable;
  return Status(code, std::move(message)).with_attachment(std::make_shared<const FaultAttachment>(fault));
}

Status cache_write_error(int error, std::string_view what) {
  CacheFault fault = CacheFault::kWrite;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) fault = CacheFault::kFull;
  if (error == EROFS || error == EACCES || error == EPERM) fault = CacheFault::kDirectory;
  return cache_error(fault, fmt::format("{}: {}", what, std::generic_category().message(error)));
}

CacheFault cache_fault(const Status& status, CacheFault other) {
  const auto* attachment = dynamic_cast<const FaultAttachment*>(status.attachment());
  return attachment == nullptr ? other : attachment->fault;
}

}  // namespace spore::code
