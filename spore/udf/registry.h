#pragma once

// Named functions: what SQL, the command line and programs in C call.
//
//   Registry registry(maker);
//   SPORE_TRY(registry.add({.name = "rank", .signature = "func(text: string, boost: f64) -> f64"}, bytes));
//   auto rank = SPORE_TRY(registry.find("rank"));
//   SPORE_TRY(rank->call(args, result, {}));

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/fork.h"
#include "spore/base/mutex.h"
#include "spore/base/status.h"
#include "spore/udf/maker.h"

namespace spore::udf {

enum class Replace : uint8_t { kNo, kYes };

// Thread-safe.  Calls in flight go on with the function that they began with.  In fork's list for what it
// has; a child must not change one that another thread was changing when it was forked.
class Registry final : ForkAware {
 public:
  static constexpr size_t kFunctionsMax = 10'000;

  // In memory alone.
  explicit Registry(Maker& maker) : maker_(maker) {}
  // Kept in a directory (docs/formats/functions.md), which is made if it is not there; what is in it is there
  // again, each function made when it is first asked for.  kCorruption: not as it was written; kIo.
  static Result<std::unique_ptr<Registry>> open(Maker& maker, std::filesystem::path directory);

  // Visible when all of it was checked and kept.  kAlreadyExists; kLimitExceeded: kFunctionsMax; what
  // Maker::make says.
  Result<std::shared_ptr<const Function>> add(const Definition& definition, std::span<const uint8_t> source,
                                              Replace replace = Replace::kNo);
  // kNotFound names the nearest; kUnavailable: it is disabled; kCorruption: its source is not as it was kept;
  // what Maker::make says, if it cannot be made any more.
  Result<std::shared_ptr<const Function>> find(std::string_view name);
  // Of names that match a pattern of '*' and '?', in order; disabled ones, too.  Those that cannot be made
  // any more are told by `broken`, if it is not null.
  struct Broken {
    std::string name;
    std::string why;
  };
  std::vector<std::shared_ptr<const Function>> list(std::string_view pattern = "*",
                                                    std::vector<Broken>* broken = nullptr);
  Status enable(std::string_view name, bool enabled);
  Status remove(std::string_view name);

 private:
  Registry(Maker& maker, std::filesystem::path directory) : maker_(maker), directory_(std::move(directory)) {}
  struct Entry {
    Definition definition;
    std::string sha256;                        // of its source
    std::shared_ptr<const Function> function;  // null: it was not asked for yet
  };
  using Functions = std::map<std::string, Entry, std::less<>>;
  Functions copy() const SPORE_EXCLUDES(mutex_);
  Result<std::shared_ptr<const Function>> make(const Entry& entry) SPORE_EXCLUDES(mutex_);
  Status load();
  Status save(const Functions& functions) const;
  Status keep_source(const Function& function) const;
  void lock_for_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.lock(); }
  void unlock_after_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.unlock(); }
  void repair_in_child() override {}

  Maker& maker_;
  const std::filesystem::path directory_;  // empty: in memory alone
  Mutex changing_;                         // before mutex_: one change at a time, with its files
  mutable Mutex mutex_;
  Functions functions_ SPORE_GUARDED_BY(mutex_);
  ForkRegistration registration_{*this};
};

}  // namespace spore::udf
