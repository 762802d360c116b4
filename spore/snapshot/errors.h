#pragma once

// What a failure of snapshot/ carries for programs to read, beyond its code.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "spore/base/status.h"

namespace spore::snapshot {

enum class ErrorKind : uint8_t {
  kIo,             // the operating system said no
  kFormat,         // bytes that are not as the format has them
  kCompression,    // a frame gives not what it was made of
  kValidation,     // parts that do not fit each other, or their module; links that are no chain
  kVersion,        // made by a newer Spore, or by another preparer
  kCorruption,     // bytes that are not those that were written
  kConfiguration,  // an option, or what the caller gave: a limit, a base, a module
};
std::string_view error_kind_name(ErrorKind kind);  // "io", "compression"

struct ErrorFacts {
  ErrorKind kind = ErrorKind::kFormat;
  std::string section{};             // "PAGEINDEX", "superblock"; empty: none of them
  std::optional<uint64_t> offset{};  // in the section, or else in the file
  std::string expected{};            // as far as it can be told, for people
  std::string found{};
};

// Each Status of snapshot/ that is not ok has one.
struct ErrorInfo final : Status::Attachment, ErrorFacts {
  explicit ErrorInfo(ErrorFacts facts) : ErrorFacts(std::move(facts)) {}
};
// Null: the status is not one of snapshot/.
const ErrorInfo* error_info(const Status& status);

// --- for snapshot/ itself --------------------------------------------------------------------------------

// The same status with these facts.
Status with_facts(Status status, ErrorFacts facts);
// The same; if it has none yet, with what its code tells.
Status explained(Status status, std::string_view section = {});

}  // namespace spore::snapshot
