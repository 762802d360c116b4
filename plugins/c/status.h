#pragma once

// What every function of include/spore.h goes through: nothing unwinds into C.

#include <exception>
#include <new>
#include <string>
#include <utility>

#include "include/spore.h"
#include "spore/base/status.h"

// An error that a caller in C has.
struct spore_status {
  spore_code code;
  std::string message;
  std::string detail;
};

namespace spore::c {

// Null: it is ok.
spore_status* to_c(const Status& status);

// Runs what gives a Status.  If there is no memory for an error either, the process ends: what else could be
// told.
template <typename Body>
spore_status* fenced(const Body& body) noexcept {
  try {
    return to_c(body());
  } catch (const std::bad_alloc&) {
    return new spore_status{.code = SPORE_LIMIT_EXCEEDED, .message = "out of memory", .detail = {}};
  } catch (const std::exception& error) {
    return new spore_status{.code = SPORE_INTERNAL, .message = error.what(), .detail = {}};
  }
}

// A copy for spore_free(), ended by a zero that does not count.  Throws std::bad_alloc.
char* copied(std::string_view text);

}  // namespace spore::c
