#include "spore/snapshot/errors.h"

#include <memory>

namespace spore::snapshot {
namespace {

ErrorKind kind_of(Code code) {
  switch (code) {
    case Code::kNotFound:
    case Code::kAlreadyExists:
    case Code::kIo: return ErrorKind::kIo;
    case Code::kUnsupported: return ErrorKind::kVersion;
    case Code::kCorruption: return ErrorKind::kCorruption;
    case Code::kLimitExceeded:
    case Code::kUnavailable: return ErrorKind::kConfiguration;
    default: return ErrorKind::kValidation;
  }
}

}  // namespace

std::string_view error_kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kIo: return "io";
    case ErrorKind::kFormat: return "format";
    case ErrorKind::kCompression: return "compression";
    case ErrorKind::kValidation: return "validation";
    case ErrorKind::kVersion: return "version";
    case ErrorKind::kCorruption: return "corruption";
    case ErrorKind::kConfiguration: return "configuration";
  }
  return "?";
}

const ErrorInfo* error_info(const Status& status) {
  return dynamic_cast<const ErrorInfo*>(status.attachment());
}

Status with_facts(Status status, ErrorFacts facts) {
  return std::move(status).with_attachment(std::make_shared<const ErrorInfo>(std::move(facts)));
}

Status explained(Status status, std::string_view section) {
  if (status.ok() || error_info(status) != nullptr) return status;
  const ErrorKind kind = kind_of(status.code());
  return with_facts(std::move(status), {.kind = kind, .section = std::string(section)});
}

}  // namespace spore::snapshot
