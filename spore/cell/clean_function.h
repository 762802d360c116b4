#pragma once

// A guest's function, each call of it in a clean instance.
//
//   CleanFunction<double(int32_t)> score = SPORE_TRY(CleanFunction<double(int32_t)>::create(entry, "score"));
//   double y = SPORE_TRY(score(42));

#include <memory>
#include <string>
#include <string_view>

#include "spore/cell/pool.h"

namespace spore::cell {

template <typename Signature>
class CleanFunction;

// Thread-safe: every call takes an instance of its own and gives it back clean.  A call says what
// PoolEntry::acquire and Function say.
template <typename R, typename... Args>
class CleanFunction<R(Args...)> {
 public:
  using Function = host::Function<R(Args...)>;

  // Also looks the function up: what acquire() and Instance::function say.
  static Result<CleanFunction> create(std::shared_ptr<PoolEntry> entry, std::string_view name,
                                      void* user_data = nullptr) {
    CleanFunction made(std::move(entry), std::string(name), user_data);
    const Lease lease = SPORE_TRY(made.entry_->acquire(user_data));
    Status why;
    if (made.find(lease, why) == nullptr) return why;
    return made;
  }

  std::conditional_t<std::is_void_v<R>, Status, Result<R>> operator()(Args... args) const {
    Result<Lease> lease = entry_->acquire(user_data_);
    if (!lease.ok()) [[unlikely]]
      return std::move(lease).status();
    Status why;
    const Function* function = find(lease.value(), why);
    if (function == nullptr) [[unlikely]]
      return why;
    return (*function)(args...);
  }

 private:
  CleanFunction(std::shared_ptr<PoolEntry> entry, std::string name, void* user_data)
      : entry_(std::move(entry)),
        name_(std::move(name)),
        number_(entry_->function_number(name_, typeid(Function))),
        user_data_(user_data) {}

  const Function* find(const Lease& lease, Status& why) const {
    return PoolEntry::function<Function>(
        *lease.pooled_, number_,
        [&](host::Instance& instance) { return instance.function<R(Args...)>(name_); }, why);
  }

  std::shared_ptr<PoolEntry> entry_;
  std::string name_;
  size_t number_;
  void* user_data_;
};

}  // namespace spore::cell
