#pragma once

// Programs that answer requests: started once, frozen where they first wait for input, and each request given
// a clean copy of that moment.
//
//   auto rewritten = SPORE_TRY(runtime.rewrite_program(bytes));
//   auto module = SPORE_TRY(runtime.load_module("calculator", *rewritten.wasm));
//   auto program = SPORE_TRY(runtime.freeze(*module));
//   program::Answer answer = SPORE_TRY(program->request("1 + 1"));
//   // answer.output == "2\n"
//
// A request is one call of `_start` in a clean instance: it goes on from the read, gets the request's bytes,
// and has answered when it waits for input again, or ends.  What it changed is gone then.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/cell/blueprint.h"
#include "spore/cell/cells.h"
#include "spore/cell/image.h"
#include "spore/cell/pool.h"
#include "spore/host/suspension.h"
#include "spore/host/wasi.h"
#include "spore/program/source.h"
#include "spore/snapshot/contents.h"
#include "spore/snapshot/writer.h"

namespace spore::program {

// How a request is told to a program, and where its answer ends: README.md has the table.
using snapshot::Framing;
// "lines", "length", "eof".  kInvalidArgument: none of these.
Result<Framing> parse_framing(std::string_view name);

// What initialises a library unless another export is named.
inline constexpr std::string_view kDefaultInit = "wizer.initialize";
// A library that exports this, a function of no parameters and no results, answers requests: each call of it
// reads one from standard input and writes the answer to standard output.
inline constexpr std::string_view kRequestExport = "spore_request";

struct FreezeOptions {
  Framing framing = Framing::kLines;
  // A request that it is given, and does not answer, before it is frozen: then that happens where it waits
  // for the next one.  Not with kEndOfInput.
  std::optional<std::string> setup;
  // Of a program: those of its functions that were rewritten, as code::Rewritten has them.
  host::StackFunctions functions;
  // Until it is frozen: what it draws at random is the same in all requests.
  host::Wasi::Entropy entropy = host::Wasi::Entropy::kFresh;
  // It is to be a library that exports kRequestExport, which this initialises; nothing: a program, if it can
  // be one, else a library after kDefaultInit.
  std::optional<std::string> init{};
  // Until it waits for input for the first time; its start function and `_initialize` have as long again.
  uint64_t deadline_ms = 60'000;
  std::string domain;  // the trust domain that it belongs to
  // What a request may make its memory grow by, within Limits::memory_bytes_max.  The program is refused
  // more; if the request then fails, that is the error.
  uint64_t memory_growth_bytes_max = 64 * engine::kMebibyte;
};

// Whether a module is started by `_start`, as a program; else it is initialised, as a library.
bool is_started(const wasm::ModuleFacts& facts, const FreezeOptions& options);

struct RestoreOptions {
  uint64_t memory_growth_bytes_max = FreezeOptions().memory_growth_bytes_max;
};

struct RequestOptions {
  std::optional<uint64_t> deadline_ms;       // nothing: as in the module's limits
  std::optional<uint64_t> output_bytes_max;  // of output, and of errors; nothing: as in WasiOptions
  engine::Store::Watch watch{};              // who may want it to end
};

struct Answer {
  std::string output;
  std::string error;                  // standard error
  std::optional<uint32_t> exit_code;  // if it ended itself; 0 also if `_start` returned
};

// What a Status of Program::freeze carries if the program waited in functions that were not rewritten.
struct WaitInfo : Status::Attachment {
  std::vector<uint32_t> functions;  // in which it did, ascending; empty: they are too many to be told
};

// What became of a program until it was frozen.
struct FrozenFacts {
  std::string output;  // what it wrote before its first read: a greeting, a prompt
  std::string error;
  uint64_t boot_ns = 0;
  uint64_t memory_bytes = 0;
  uint64_t frames_bytes = 0;   // of its saved stack
  uint64_t entropy_bytes = 0;  // that it drew at random
};

// Thread-safe: requests run at once, each in an instance of the pool.  Immutable.
class Program {
 public:
  // Starts the program of `blueprint` and freezes it at its first wait for input.
  // - kUnsupported: it cannot be frozen, as asyncify did not rewrite it, not all of its state can be held, or
  //   it reads in a call from a host function, or, with WaitInfo, in a function that was not rewritten; the
  //   message has cause and way out.
  // - kInvalidArgument: it is no program, or nothing that reads; a setup that the framing cannot tell.
  // - kExited: it ended before it read; with its exit code, and the last that it said.
  // - kDeadlineExceeded: it did not read in time.
  // - kLimitExceeded: its stack, or a limit of the blueprint.
  // - How it trapped; what cell::instantiate() and cell::Image::capture() say.
  //
  // A library that answers requests is initialised instead, with its `setup` as its input, and frozen behind
  // that.  How that failed.
  static Result<std::shared_ptr<const Program>> freeze(const cell::Blueprint& blueprint,
                                                       const std::shared_ptr<cell::Pool>& pool,
                                                       const FreezeOptions& options);
  // The functions that are on the stack where freeze() would freeze it, ascending, of a program that was not
  // rewritten yet: it is started, and ended there.  What it does to its world until then, it does.  As above.
  static Result<std::vector<uint32_t>> find_wait(const cell::Blueprint& blueprint,
                                                 const FreezeOptions& options);
  // Of what a file holds, for instances of `blueprint`, whose module was prepared to the same bytes.
  // kInvalidArgument: it holds no program, or another; kUnavailable: a file that it had open is gone or
  // changed; what snapshot::restore() and Pool::entry say.
  static Result<std::shared_ptr<const Program>> restore(const snapshot::Contents& contents,
                                                        const cell::Blueprint& blueprint,
                                                        const std::shared_ptr<cell::Pool>& pool,
                                                        const RestoreOptions& options = {});
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

  // Its cells: each goes on from where its last request left it, so that what a program keeps in variables
  // lives on.  kUnsupported: it reads all of its input in one request; what Cells::kind() says.
  Result<std::shared_ptr<cell::CellKind>> cell_kind(cell::Cells& cells) const;
  // A request to one of them.  Where it fails, or ends the program, nothing of it happened.  What
  // Cells::use(), request() and CellUse::commit() say; kInvalidArgument: the cell is none of this program's.
  Result<Answer> request_in(cell::Cells& cells, const cell::CellId& cell, std::string_view text,
                            const RequestOptions& options = {}) const;

  // What it is after one request, which it need not answer: frozen again where it waits for the next one, on
  // this one's image: what both have alike is held once.  Of the options, deadline, growth and entropy count.
  // kExited: it ended, and waits for nothing; what request() and freeze() say.
  struct Extended;
  Result<Extended> extend(std::string_view text, const FreezeOptions& options = {}) const;

  // The pages that this request reads and writes, in an instance that nobody used before: a hint for who
  // loads the image (Source::hot_set).  What request() says; kUnavailable: this system does not tell.
  Result<std::vector<snapshot::HotRun>> hot_set(std::string_view text) const;

  // Writes it to a file, with what was seen of its module since it was frozen or restored
  // (code::profile_since); what snapshot::contents_of() and snapshot::write() say.
  Result<Digest> save(const std::filesystem::path& path, const Source& source,
                      const snapshot::WriteOptions& options = snapshot::WriteOptions::local()) const;
  // The same for one that extend() made of one that was restored from a file: without what is there, as a
  // derived image.  `base_file`: where that file is, from the folder of this one.  kInvalidArgument: it is no
  // such program.
  // Such a file is small: it is in the wire form, where pages that are not its own take up nothing.
  Result<Digest> save_derived(const std::filesystem::path& path, const Source& source,
                              std::string_view base_file,
                              const snapshot::WriteOptions& options = {
                                  .compression = snapshot::Compression::kNone, .progress = {}}) const;
  // The module that it runs in is a library.
  bool is_library() const { return !parts_.suspended.has_value(); }

  // Makes instances ahead.  What PoolEntry::warm_up says.
  Status warm_up(uint32_t instances) const { return entry_->warm_up(instances); }

  Framing framing() const { return parts_.framing; }
  const FrozenFacts& facts() const { return parts_.facts; }
  const cell::Image& image() const { return *parts_.image; }
  const cell::PoolEntry& pool_entry() const { return *entry_; }

 private:
  struct Parts {
    std::shared_ptr<const cell::Image> image;
    std::optional<host::Suspended> suspended;  // nothing: a library, which is called
    Framing framing = Framing::kLines;
    std::string domain;
    FrozenFacts facts;
    std::optional<Digest> file{};  // that its image is in, and stands on nothing
    std::optional<Digest> base{};  // that the image is in which its own stands on
  };
  static Result<std::shared_ptr<const Program>> create(Parts parts, const std::shared_ptr<cell::Pool>& pool);
  // A request is to be answered; or what comes of it is to be kept.
  enum class Purpose : uint8_t { kAnswer, kExtend };
  struct How {
    std::optional<uint64_t> output_bytes_max;
    Purpose purpose = Purpose::kAnswer;
    host::Wasi::Entropy entropy = host::Wasi::Entropy::kFresh;
  };
  // From the read on, with `text` as its request.  `suspension` null: of a library.
  Result<Answer> run(host::Instance& instance, std::string_view text, host::Suspension* suspension,
                     const How& how) const;
  // What becomes of an instance that stands in its unwinding wait, or, null, of a library's between calls.
  static Result<Parts> stop(const host::Suspension* suspension, host::Instance& instance, const Answer& said,
                            const cell::Blueprint& blueprint, const memory::ResetOptions& reset,
                            const cell::Image* base);
  static Result<Parts> boot(const cell::Blueprint& blueprint, const memory::ResetOptions& reset,
                            const FreezeOptions& options);
  Result<Digest> save_on(std::optional<snapshot::Origin::Base> base, const std::filesystem::path& path,
                         const Source& source, const snapshot::WriteOptions& options) const;
  Program(Parts parts, std::shared_ptr<cell::Pool> pool);

  const Parts parts_;
  const engine::UseByName before_;  // of the module, until it was frozen
  std::shared_ptr<cell::Pool> pool_;
  std::shared_ptr<cell::PoolEntry> entry_;
};

struct Program::Extended {
  std::shared_ptr<const Program> program;
  Answer answer;  // to that request
};

}  // namespace spore::program
