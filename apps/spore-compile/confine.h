#pragma once

// What is given up before a byte of a module is read.  For this process, all of its threads, for ever, and
// for what it becomes.

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

// For a program that this process is about to become, beside its three standard streams: until then and from
// then on no file can be opened but to be read, nobody is talked to, no process is made, nobody else is sent
// a signal; threads are.  What is not on the list is refused with EPERM: it is not our program, and what its
// libraries ask for may change.  kUnavailable: the system refuses.
Status confine_program(const Confinement& confinement);

// Leaves nothing of the file system but `program` and the system's shared libraries, to be read and executed.
// Before confine_program().  kUnavailable: the kernel has no Landlock (before Linux 5.13, or it is switched
// off).
Status hide_files(const char* program);

}  // namespace spore::helper
