#include "plugins/c/status.h"

#include <cstdlib>
#include <cstring>

namespace spore::c {

namespace {

// The numbers in the header are the interface's, and stay.
spore_code code_of(Code code) {
  switch (code) {
    case Code::kOk: return SPORE_OK;
    case Code::kInvalidArgument: return SPORE_INVALID_ARGUMENT;
    case Code::kInvalidModule: return SPORE_INVALID_MODULE;
    case Code::kNotFound: return SPORE_NOT_FOUND;
    case Code::kAlreadyExists: return SPORE_ALREADY_EXISTS;
    case Code::kUnsupported: return SPORE_UNSUPPORTED;
    case Code::kCorruption: return SPORE_CORRUPTION;
    case Code::kLimitExceeded: return SPORE_LIMIT_EXCEEDED;
    case Code::kDeadlineExceeded: return SPORE_DEADLINE_EXCEEDED;
    case Code::kCancelled: return SPORE_CANCELLED;
    case Code::kTrap: return SPORE_TRAP;
    case Code::kExited: return SPORE_EXITED;
    case Code::kHostError: return SPORE_HOST_ERROR;
    case Code::kUnavailable: return SPORE_UNAVAILABLE;
    case Code::kIo: return SPORE_IO;
    case Code::kInternal: return SPORE_INTERNAL;
  }
  return SPORE_INTERNAL;
}

constexpr const char* kNames[] = {
    "ok",          "invalid_argument", "invalid_module", "not_found",         "already_exists",
    "unsupported", "corruption",       "limit_exceeded", "deadline_exceeded", "cancelled",
    "trap",        "exited",           "host_error",     "unavailable",       "io",
    "internal"};

}  // namespace

spore_status* to_c(const Status& status) {
  if (status.ok()) return nullptr;
  return new spore_status{.code = code_of(status.code()),
                          .message = std::string(status.message()),
                          .detail = std::string(status.detail())};
}

char* copied(std::string_view text) {
  auto* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy == nullptr) throw std::bad_alloc();  // to the fence
  if (!text.empty()) std::memcpy(copy, text.data(), text.size());
  copy[text.size()] = '\0';
  return copy;
}

}  // namespace spore::c

extern "C" {

spore_code spore_status_code(const spore_status* status) {
  return status == nullptr ? SPORE_OK : status->code;
}
const char* spore_status_message(const spore_status* status) {
  return status == nullptr ? "" : status->message.c_str();
}
const char* spore_status_detail(const spore_status* status) {
  return status == nullptr ? "" : status->detail.c_str();
}
void spore_status_free(spore_status* status) { delete status; }

const char* spore_code_name(spore_code code) {
  return code >= SPORE_OK && code <= SPORE_INTERNAL ? spore::c::kNames[code] : "unknown";
}

void spore_free(void* memory) { std::free(memory); }

}  // extern "C"
