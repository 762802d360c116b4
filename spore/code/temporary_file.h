#pragma once

// Files that appear whole or not at all, and what is left of those whose writer died.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/fd.h"
#include "spore/base/status.h"
#include "spore/code/cache_fault.h"

namespace spore::code {

// A new file, 0600, beside the name that it will have.  Whoever writes one holds its flock: so the next
// process knows which of them nobody writes any more, also across containers, where process numbers say
// nothing. Removed on destruction unless it was put into place.
class TemporaryFile {
 public:
  // In `directory`, which outlives it.  Faults: kFull, kDirectory, kWrite; so all below.
  static Result<TemporaryFile> create(int directory, std::string_view name);
  TemporaryFile(TemporaryFile&& other) noexcept;
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile();

  int fd() const { return fd_.get(); }

  // Syncs it and gives it its name: readers see what was there before, or this, whole, also after a crash.
  Status replace();
  // The same, but kAlreadyExists if there is something of that name.
  Status publish();

 private:
  TemporaryFile(int directory, std::string name, std::string temporary, UniqueFd fd);

  int directory_;
  std::string name_;
  std::string temporary_;  // empty: put into place
  UniqueFd fd_;
};

// Removes the temporary files of dead writers whose names begin with `prefix`.  What cannot be removed stays.
void remove_stale_temporaries(int directory, std::string_view prefix);

// Every name in `directory` but "." and "..".  kIo.
Result<std::vector<std::string>> names_in(int directory);
// True if `name` is the file of this descriptor.
bool is_named(int directory, const std::string& name, int fd);

// Fault: kRead.
Result<uint64_t> file_size(int fd);
// All of `bytes`, at `offset`.  Faults: kFull, kDirectory, kWrite.
Status write_at(int fd, std::span<const uint8_t> bytes, uint64_t offset);
// Fills `bytes` from `offset`.  Fault: kRead, also if the file ends before.
Status read_at(int fd, std::span<uint8_t> bytes, uint64_t offset);

}  // namespace spore::code
