#pragma once

// A function that can be called: of a wasm library by the canonical ABI, or of a program by JSON.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/json.h"
#include "spore/base/status.h"
#include "spore/engine/store.h"
#include "spore/engine/types.h"
#include "spore/host/wit_value.h"
#include "spore/udf/definition.h"
#include "spore/udf/document.h"
#include "spore/wasm/wit.h"

namespace spore::udf {

class Memo;

struct Arity {
  static constexpr size_t kAny = SIZE_MAX;
  size_t least = 0;
  size_t most = 0;  // kAny: variadic

  bool takes(size_t count) const { return count >= least && count <= most; }
  std::string text() const;  // "2", "1 to 3", "1 or more"
};

// What became of a function's calls.  Thread-safe.
struct FunctionStatistics {
  std::atomic<uint64_t> calls{0};
  std::atomic<uint64_t> errors{0};
  std::atomic<uint64_t> batches{0};
  std::atomic<uint64_t> memo_hits{0};
  // Of some calls only: a clock costs more than a call.
  std::atomic<uint64_t> timed_calls{0};
  std::atomic<uint64_t> timed_ns{0};

  // Of a call, as measured; 0: not yet.
  double mean_ns() const;
  void write_json(JsonWriter& json) const;  // fields
};

using Watch = engine::Store::Watch;

struct CallOptions {
  const Document* document = nullptr;
  Watch watch{};  // who may want the call to end: engine::Store::set_watch
};

// Several rows of arguments, all of which have the same number of them.
struct Rows {
  std::span<const host::WitArg> args;  // row by row
  size_t count = 0;                    // of rows

  std::span<const host::WitArg> row(size_t index) const {
    const size_t width = count == 0 ? 0 : args.size() / count;
    return args.subspan(index * width, width);
  }
};

class Session;
class Group;

// Immutable but for its statistics; thread-safe.  A call that runs keeps it.
class Function : public std::enable_shared_from_this<Function> {
 public:
  // What all functions are made of.
  struct Parts {
    Definition definition;
    wasm::WitSignature signature;
    std::shared_ptr<const std::vector<uint8_t>> source;
    Digest source_hash;
    bool reads_document = false;
    std::shared_ptr<Memo> memo;  // null: nothing is kept
  };

  virtual ~Function() = default;
  Function(const Function&) = delete;
  Function& operator=(const Function&) = delete;

  const Definition& definition() const { return definition_; }
  const std::string& name() const { return definition_.name; }
  // Of an aggregate: what a step takes, and what the finish gives.
  const wasm::WitSignature& signature() const { return signature_; }
  const Arity& arity() const { return arity_; }
  const Digest& source_hash() const { return source_hash_; }
  const std::vector<uint8_t>& source() const { return *source_; }
  // It asks for the fields of a document.
  bool reads_document() const { return reads_document_; }
  FunctionStatistics& statistics() const { return statistics_; }
  // For a planner: nanoseconds a call, measured or by its class.
  double cost_ns() const;

  // One call in a clean instance.  Fewer arguments than parameters will do if those that are missing are
  // options, and more if it is variadic.  kInvalidArgument: the arguments; what WitFunction says, or how the
  // program failed (the message has the last line of its traceback, the detail all).
  Status call(std::span<const host::WitArg> args, host::WitValue& result, const CallOptions& options) const;
  // All rows in one crossing, if the guest can do that; then they share an instance.  Results in order; a row
  // that fails fails alone.
  void call_batch(const Rows& rows, std::vector<Result<host::WitValue>>& results,
                  const CallOptions& options) const;

  // For the calls of one statement, as Definition::isolation says or as told here.
  std::unique_ptr<Session> begin(const Watch& watch, std::optional<Isolation> isolation = {}) const;
  // For one group of an aggregate.  kUnsupported: it is none; how no instance was to be had.
  Result<std::unique_ptr<Group>> begin_group(const Watch& watch) const;

  // Fields of an object.
  void write_json(JsonWriter& json) const;

 protected:
  explicit Function(Parts parts);

 private:
  friend class Session;

  // Arguments as many as there are parameters.
  virtual std::unique_ptr<Session> make_session(const Watch& watch, Isolation isolation) const = 0;
  virtual Result<std::unique_ptr<Group>> make_group(const Watch& watch) const = 0;

  const Definition definition_;
  const wasm::WitSignature signature_;
  const Arity arity_;
  const std::shared_ptr<const std::vector<uint8_t>> source_;
  const Digest source_hash_;
  const bool reads_document_;
  const std::shared_ptr<Memo> memo_;
  std::string memo_key_;  // what the keys of its results begin with
  mutable FunctionStatistics statistics_;
};

// The arguments of a call, as many as there are parameters: with those that it left out, and those that a
// variadic function has more of in its list.  Used again for each call.
class WholeArguments {
 public:
  // Good until the next one, and as long as `args`.  kInvalidArgument: not as many as the function takes.
  Result<std::span<const host::WitArg>> of(const Function& function, std::span<const host::WitArg> args);

 private:
  std::vector<host::WitArg> whole_;
  host::WitValue further_;
};

// Calls of one statement, on one thread at a time.  Keeps its function.
class Session {
 public:
  virtual ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const Function& function() const { return *function_; }

  // As Function::call.
  Status call(std::span<const host::WitArg> args, host::WitValue& result, const Document* document = nullptr);
  void call_batch(const Rows& rows, std::vector<Result<host::WitValue>>& results,
                  const Document* document = nullptr);

  // For functions that take and give numbers alone, of fixed arity and without memo, where there is no
  // document: core values as WitFunction::lower_number() makes them, the result in values[0].  For who counts
  // nanoseconds.
  bool numbers() const { return numbers_; }
  // False: take_failure() says why.
  bool call_numbers(engine::RawValue* values, size_t count) {
    calls_++;
    const bool done = --until_timed_ == 0 ? call_numbers_timed(values, count) : run_numbers(values, count);
    if (!done) [[unlikely]]
      errors_++;
    return done;
  }
  Status take_failure() { return std::move(failure_); }

 protected:
  Session(std::shared_ptr<const Function> function, bool numbers);

  virtual bool run_numbers(engine::RawValue* values, size_t count) = 0;
  virtual Status run(std::span<const host::WitArg> args, host::WitValue& result,
                     const Document* document) = 0;
  // One crossing for all.  kUnsupported: there is none; another failure: as a whole, which says nothing of
  // each.
  virtual Status run_batch(const Rows& rows, std::vector<Result<host::WitValue>>& results,
                           const Document* document) = 0;
  Status failure_;

 private:
  bool call_numbers_timed(engine::RawValue* values, size_t count);
  Status call_one(std::span<const host::WitArg> args, host::WitValue& result, const Document* document);
  void flush();

  const std::shared_ptr<const Function> function_;
  const bool numbers_;
  static constexpr uint32_t kTimedEvery = 256;
  uint32_t until_timed_ = 1;
  uint64_t calls_ = 0;  // not told to the statistics yet
  uint64_t errors_ = 0;
  WholeArguments whole_;
  std::string key_;  // in the memo
};

// One group of an aggregate: its steps and its finish share an instance that nobody else has.
class Group {
 public:
  virtual ~Group() = default;
  // Arguments as Function::call takes them.
  virtual Status step(std::span<const host::WitArg> args) = 0;
  virtual Status finish(host::WitValue& result) = 0;
};

}  // namespace spore::udf
