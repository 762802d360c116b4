#pragma once

// Programs that answer requests: started once, frozen where they first wait for input, and each request given
// a clean copy of that moment.
//
//   auto program = SPORE_TRY(runtime.freeze("calculator", asyncified_bytes, {.args = {"calc", "-i"}}));
//   program::Answer answer = SPORE_TRY(program->request("1 + 1"));
//   // answer.output == "2\n"
//
// A request is one call of `_start` in a clean instance: it goes on from the read, gets the request's bytes,
// and has answered when it waits for input again, or ends.  What it changed is gone then.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "spore/base/status.h"
#include "spore/cell/blueprint.h"
#include "spore/cell/image.h"
#include "spore/cell/pool.h"
#include "spore/host/suspension.h"

namespace spore::program {

// How a request is told to a program, and where its answer ends.
enum class Framing : uint8_t {
  // One line in.  The answer is what was written when the next line is waited for.
  kLines,
  // Its length as four bytes, little-endian, and so many bytes.  The answer likewise, once.
  kLengths,
  // The request is all of standard input.  The answer is what was written when the program ends.
  kEndOfInput,
};
std::string_view framing_name(Framing framing);  // "lines", "length", "eof": as flags have it
// kInvalidArgument: none of these.
Result<Framing> parse_framing(std::string_view name);

struct FreezeOptions {
  Framing framing = Framing::kLines;
  // Until it waits for input for the first time; its start function and `_initialize` have as long again.
  uint64_t deadline_ms = 60'000;
  std::string domain;  // the trust domain that it belongs to
  // What a request may make its memory grow by, within Limits::memory_bytes_max.
  uint64_t memory_growth_bytes_max = 64 * engine::kMebibyte;
};

struct RequestOptions {
  std::optional<uint64_t> deadline_ms;       // nothing: as in the module's limits
  std::optional<uint64_t> output_bytes_max;  // of output, and of errors; nothing: as in WasiOptions
};

struct Answer {
  std::string output;
  std::string error;                  // standard error
  std::optional<uint32_t> exit_code;  // if it ended itself; 0 also if `_start` returned
};

// What became of a program until it was frozen.
struct FrozenFacts {
  std::string output;  // what it wrote before its first read: a greeting, a prompt
  std::string error;
  uint64_t boot_ns = 0;
  uint64_t memory_bytes = 0;
  uint64_t frames_bytes = 0;  // of its saved stack
};

// Thread-safe: requests run at once, each in an instance of the pool.  Immutable.
class Program {
 public:
  // Starts the program of `blueprint` and freezes it at its first wait for input.
  // kUnsupported: it cannot be frozen: not rewritten by asyncify, not all of its state can be held, or it
  // reads
  //   in a call from a host function; the message has cause and way out.
  // kInvalidArgument: it is no program, or nothing that reads.
  // kExited: it ended before it read; with its exit code, and the last that it said.
  // kDeadlineExceeded: it did not read in time.  kLimitExceeded: its stack, or a limit of the blueprint.
  // How it trapped; what cell::instantiate() and cell::Image::capture() say.
  static Result<std::shared_ptr<const Program>> freeze(const cell::Blueprint& blueprint,
                                                       const std::shared_ptr<cell::Pool>& pool,
                                                       const FreezeOptions& options);
  // Of an image that was made so.  What Pool::entry says.
  static Result<std::shared_ptr<const Program>> create(std::shared_ptr<const cell::Image> image,
                                                       host::Suspended suspended,
                                                       const std::shared_ptr<cell::Pool>& pool,
                                                       const FreezeOptions& options, FrozenFacts facts = {});
  // No instance is used again; requests that run end as they would.
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // After an error the next request is as clean as after an answer.
  // kInvalidArgument: no text that the framing can tell: more than one line, 4 GiB.
  // kDeadlineExceeded, kTrap; kLimitExceeded names the limit.
  // kExited: it ended in the middle of an answer: a line without its end, fewer bytes than it announced.
  // kCorruption: an answer that is not framed as it should be.
  // What PoolEntry::acquire says.
  Result<Answer> request(std::string_view text, const RequestOptions& options = {}) const;

  // Makes instances ahead.  What PoolEntry::warm_up says.
  Status warm_up(uint32_t instances) const { return entry_->warm_up(instances); }

  Framing framing() const { return framing_; }
  const FrozenFacts& facts() const { return facts_; }
  const cell::Image& image() const { return *image_; }
  const host::Suspended& suspended() const { return suspended_; }
  const cell::PoolEntry& pool_entry() const { return *entry_; }

 private:
  Program(std::shared_ptr<const cell::Image> image, host::Suspended suspended,
          std::shared_ptr<cell::Pool> pool, const FreezeOptions& options, FrozenFacts facts);

  std::shared_ptr<const cell::Image> image_;
  host::Suspended suspended_;
  Framing framing_;
  FrozenFacts facts_;
  std::shared_ptr<cell::Pool> pool_;
  std::shared_ptr<cell::PoolEntry> entry_;
};

struct LibraryOptions {
  std::string init;               // the export that initialises it, of no parameters and no results
  uint64_t deadline_ms = 60'000;  // of that
  std::string domain;
};

// A library, initialised once by an export of its own; each call of its exports begins there.  The image is
// that after `_initialize` and `init`. kNotFound: no such export; kInvalidArgument: it takes or gives
// something; kUnsupported: not all of its state can be held; how it failed; what Pool::entry says.
Result<std::shared_ptr<cell::PoolEntry>> freeze_library(const cell::Blueprint& blueprint,
                                                        const std::shared_ptr<cell::Pool>& pool,
                                                        const LibraryOptions& options);

}  // namespace spore::program
