#pragma once

// A function that each instance of a pool's entry looks up once, whatever kind of function the caller has.

#include <memory>
#include <string_view>
#include <utility>

#include "spore/cell/pool.h"

namespace spore::cell {

// Thread-safe.  Keeps the entry, and with it the pool.
template <typename F>
class HeldFunction {
 public:
  // `name`: of what is looked up, and how; two of one name are the same.  Names are remembered as long as the
  // entry, so there must be an end of them.
  HeldFunction(std::shared_ptr<PoolEntry> entry, std::string_view name)
      : entry_(std::move(entry)), number_(entry_->function_number(name, typeid(F))) {}

  const std::shared_ptr<PoolEntry>& entry() const { return entry_; }

  // Of the instance that a lease of this entry has; as long as the lease.  `find(instance)` gives a Result<F>
  // and is called once for each instance.  Null, and `why`, if it is not there.
  template <typename Find>
  const F* in(const Lease& lease, const Find& find, Status& why) const {
    return PoolEntry::function<F>(*lease.pooled_, number_, find, why);
  }

 private:
  std::shared_ptr<PoolEntry> entry_;
  size_t number_;
};

}  // namespace spore::cell
