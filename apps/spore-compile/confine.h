#pragma once

// What is given up before a byte of a module is read.  For this process, all of its threads, for ever.

#include <cstdint>

#include "spore/base/status.h"

namespace spore::helper {

struct Confinement {
  uint64_t memory_bytes_max = 0;  // address space
  uint64_t cpu_s_max = 0;         // processor time so far and from now on
  uint64_t file_bytes_max = 0;    // of each file that is written
};

// Ends with the thread that started this process, and first of all when memory is out; keeps descriptors 0 to
// `descriptor_max`, closes all others; cannot be looked into by processes of the same user.  kUnavailable:
// the system refuses.
Status stand_alone(int descriptor_max);

// Limits, and a filter of system calls: from here on no file is opened, nobody is talked to, no process or
// thread is made.  What is not on the list ends the process by SIGSYS.  kUnavailable: the system refuses.
Status confine(const Confinement& confinement);

// Lowers the limit of processor time, and then takes the way to change limits away.  kUnavailable.
Status confine_more(uint64_t cpu_s_max);

}  // namespace spore::helper
