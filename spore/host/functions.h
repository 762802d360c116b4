#pragma once

// Host functions from C++ callables: what a guest may import.
//
//   HostFunctions host;
//   host.define("env", "now", [] { return int64_t{42}; });
//   host.define("env", "log", [](Caller& caller, std::string_view line) -> Status { ... });
//
// A callable takes, optionally first, a Caller&, then numbers, bool, std::string_view or
// std::span<std::byte> (each of the last two is an address and a length in the guest's memory, checked and
// counted against copy_bytes_max).  It gives void, a number, bool, Status or Result<number>.  An error or
// an exception ends the guest's call.  It may run on several threads at once, for several instances.

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "spore/base/status.h"
#include "spore/engine/binding.h"
#include "spore/engine/store.h"
#include "spore/host/function.h"

namespace spore::host {

using engine::Caller;

namespace internal {

template <typename T>
inline constexpr bool kIsView =
    std::is_same_v<T, std::string_view> || std::is_same_v<T, std::span<std::byte>>;

template <typename T>
struct Unwrapped {
  using type = T;
};
template <typename T>
struct Unwrapped<Result<T>> {
  using type = T;
};
template <>
struct Unwrapped<Status> {
  using type = void;
};

template <typename T>
void append_core_types(std::vector<engine::ValType>& types) {
  if constexpr (std::is_void_v<T>) {
  } else if constexpr (kIsView<T>) {
    types.insert(types.end(), 2, engine::ValType::kI32);
  } else {
    types.push_back(Crosses<T>::kCore);
  }
}

// One argument for the callable; `next` moves past what it took.
template <typename T>
Result<T> take_argument(Caller& caller, const engine::RawValue* values, size_t& next) {
  if constexpr (kIsView<T>) {
    const engine::GuestPtr pointer{static_cast<uint32_t>(values[next].i32)};
    const auto length = static_cast<uint32_t>(values[next + 1].i32);
    next += 2;
    SPORE_TRY(caller.charge_copy(length));
    if constexpr (std::is_same_v<T, std::string_view>) {
      // Only to be read.
      const std::span<std::byte> bytes = SPORE_TRY(caller.memory_of_this_thread().span(pointer, length));
      return T(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    } else {
      return SPORE_TRY(caller.memory().span(pointer, length));
    }
  } else {
    return Crosses<T>::lift(values[next++]);
  }
}

// What std::optional<Result<T>> would be: arguments are taken in order and the first failure counts.
template <typename... Args>
Result<std::tuple<Args...>> take_arguments(Caller& caller, const engine::RawValue* values) {
  size_t next = 0;
  Status failure;
  [[maybe_unused]] const auto take = [&]<typename T>(std::type_identity<T>) -> T {
    if (!failure.ok()) return T{};
    Result<T> taken = take_argument<T>(caller, values, next);
    if (taken.ok()) return std::move(taken).value();
    failure = std::move(taken).status();
    return T{};
  };
  std::tuple<Args...> arguments{take(std::type_identity<Args>{})...};  // braces: left to right
  if (!failure.ok()) return failure;
  return arguments;
}

template <typename R>
Status give_result(R result, engine::RawValue* values) {
  if constexpr (std::is_same_v<R, Status>) {
    return result;
  } else if constexpr (std::is_same_v<R, typename Unwrapped<R>::type>) {
    Crosses<R>::lower(result, values[0]);
    return {};
  } else {
    if (!result.ok()) return std::move(result).status();
    Crosses<typename Unwrapped<R>::type>::lower(result.value(), values[0]);
    return {};
  }
}

template <typename Callable, typename R, bool kWithCaller, typename... Args>
engine::HostFunction make_host_function(std::string module, std::string name, Callable callable) {
  engine::HostFunction function{std::move(module), std::move(name), {}, {}};
  (append_core_types<Args>(function.type.params), ...);
  append_core_types<typename Unwrapped<R>::type>(function.type.results);
  function.body = [callable = std::move(callable)](Caller& caller, engine::RawValue* values) -> Status {
    std::tuple<Args...> arguments = SPORE_TRY(take_arguments<Args...>(caller, values));
    return std::apply(
        [&](auto&... args) -> Status {
          const auto invoke = [&]() -> R {
            if constexpr (kWithCaller) {
              return callable(caller, args...);
            } else {
              return callable(args...);
            }
          };
          if constexpr (std::is_void_v<R>) {
            invoke();
            return {};
          } else {
            return give_result(invoke(), values);
          }
        },
        arguments);
  };
  return function;
}

// Takes a callable's signature apart.
template <typename Member>
struct Shape;
template <typename C, typename R, typename... Args>
struct Shape<R (C::*)(Args...) const> {
  template <typename Callable>
  static engine::HostFunction make(std::string module, std::string name, Callable callable) {
    return make_host_function<Callable, R, false, std::remove_cvref_t<Args>...>(
        std::move(module), std::move(name), std::move(callable));
  }
};
template <typename C, typename R, typename... Args>
struct Shape<R (C::*)(Args...) const noexcept> : Shape<R (C::*)(Args...) const> {};
template <typename C, typename R, typename... Args>
struct Shape<R (C::*)(Caller&, Args...) const noexcept> : Shape<R (C::*)(Caller&, Args...) const> {};
template <typename C, typename R, typename... Args>
struct Shape<R (C::*)(Caller&, Args...) const> {
  template <typename Callable>
  static engine::HostFunction make(std::string module, std::string name, Callable callable) {
    return make_host_function<Callable, R, true, std::remove_cvref_t<Args>...>(
        std::move(module), std::move(name), std::move(callable));
  }
};

}  // namespace internal

// A set of host functions while it is put together.  Copyable; thread-compatible.
class HostFunctions {
 public:
  // A later definition of the same name replaces the earlier one.  `callable` is const-callable: state
  // that it shares between calls is its own business, and needs its own lock.
  template <typename Callable>
  HostFunctions& define(std::string module, std::string name, Callable callable) {
    using Shape = internal::Shape<decltype(&Callable::operator())>;
    return define_raw(Shape::make(std::move(module), std::move(name), std::move(callable)));
  }

  // For functions whose types are known only at run time.
  HostFunctions& define_raw(engine::HostFunction function);

  // What instances are bound to; later definitions do not change it.
  std::shared_ptr<const engine::HostFunctions> freeze() const {
    return std::make_shared<const engine::HostFunctions>(functions_);
  }

 private:
  engine::HostFunctions functions_;
};

}  // namespace spore::host
