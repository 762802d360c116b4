#pragma once

// A call that an executor of the host's makes.

#include <functional>
#include <memory>
#include <vector>

#include "spore/base/status.h"
#include "spore/host/value.h"

namespace spore::cell {

// What PoolEntry::submit() gives.  Thread-safe, copies are the same call; may go before the call is made.
class Submission {
 public:
  using Answer = Result<std::vector<host::Value>>;
  using Callback = std::function<void(Answer)>;  // must not throw

  // A call that did not begin is answered with kCancelled here and now.  One that runs ends with kCancelled
  // like any other, see engine::Canceller; one that waits for an instance, when it has got one.  One that is
  // done stays as it is.
  void cancel() const;

 private:
  friend class PoolEntry;
  class Call;
  explicit Submission(std::shared_ptr<Call> call) : call_(std::move(call)) {}

  std::shared_ptr<Call> call_;
};

}  // namespace spore::cell
