#pragma once

// Guest functions with C++ types, checked once and then called without checks.
//
//   Function<double(int32_t, double)> scale = SPORE_TRY(instance.function<double(int32_t, double)>("scale"));
//   double y = SPORE_TRY(scale(3, 0.5));

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "spore/base/status.h"
#include "spore/base/utf8.h"
#include "spore/engine/store.h"
#include "spore/host/crossing.h"
#include "spore/host/value.h"

namespace spore::host {

// How a C++ type crosses.  Specialised for what may cross; any other type does not compile.
template <typename T>
struct Crosses;

template <typename T, engine::ValType kType, auto kMember>
struct CrossesAsNumber {
  static constexpr engine::ValType kCore = kType;
  static void lower(T value, engine::RawValue& raw) {
    raw.*kMember = static_cast<std::remove_reference_t<decltype(raw.*kMember)>>(value);
  }
  static T lift(const engine::RawValue& raw) { return static_cast<T>(raw.*kMember); }
};
template <>
struct Crosses<int32_t> : CrossesAsNumber<int32_t, engine::ValType::kI32, &engine::RawValue::i32> {};
template <>
struct Crosses<uint32_t> : CrossesAsNumber<uint32_t, engine::ValType::kI32, &engine::RawValue::i32> {};
template <>
struct Crosses<int64_t> : CrossesAsNumber<int64_t, engine::ValType::kI64, &engine::RawValue::i64> {};
template <>
struct Crosses<uint64_t> : CrossesAsNumber<uint64_t, engine::ValType::kI64, &engine::RawValue::i64> {};
template <>
struct Crosses<float> : CrossesAsNumber<float, engine::ValType::kF32, &engine::RawValue::f32> {};
template <>
struct Crosses<double> : CrossesAsNumber<double, engine::ValType::kF64, &engine::RawValue::f64> {};
template <>
struct Crosses<bool> : CrossesAsNumber<bool, engine::ValType::kI32, &engine::RawValue::i32> {};

template <typename T>
inline constexpr bool kCrossesAsText =
    std::is_same_v<T, std::string_view> || std::is_same_v<T, std::string> || std::is_same_v<T, ScratchText>;

template <typename Signature>
class Function;

// Must not outlive its Instance; bound to the same thread.  Failures of a call: see Store.
template <typename R, typename... Args>
class Function<R(Args...)> {
 public:
  static Result<Function> create(engine::Store& store, const engine::InstanceHandle& instance,
                                 std::string_view name) {
    return Function(SPORE_TRY(Crossing::create(store, instance, name, core_type(), kTextIn, kTextOut)));
  }

  Result<R> operator()(Args... args) const
    requires(!std::is_void_v<R>)
  {
    std::array<engine::RawValue, kValues> values;
    if constexpr (kTextIn || kTextOut) {
      const engine::Store::Group group(crossing_.store());
      SPORE_TRY(lower_and_call(values, args...));
      return lift(values[0]);
    } else {
      size_t next = 0;
      (Crosses<Args>::lower(args, values[next++]), ...);
      if (!crossing_.try_call(values.data(), kValues)) [[unlikely]]
        return crossing_.store().take_failure();
      return Crosses<R>::lift(values[0]);
    }
  }

  Status operator()(Args... args) const
    requires(std::is_void_v<R>)
  {
    std::array<engine::RawValue, kValues> values;
    if constexpr (kTextIn) {
      const engine::Store::Group group(crossing_.store());
      return lower_and_call(values, args...);
    } else {
      return lower_and_call(values, args...);
    }
  }

 private:
  static constexpr bool kTextIn = (kCrossesAsText<Args> || ...);
  static constexpr bool kTextOut = kCrossesAsText<R>;
  static constexpr size_t kFlat = (size_t{0} + ... + (kCrossesAsText<Args> ? 2 : 1));
  static constexpr size_t kValues = kFlat == 0 ? 1 : kFlat;
  static_assert(kFlat <= 16, "the canonical ABI passes at most 16 numbers directly");

  explicit Function(const Crossing& crossing) : crossing_(crossing) {}

  template <typename T>
  static void append_type(std::vector<engine::ValType>& types) {
    if constexpr (kCrossesAsText<T>) {
      types.insert(types.end(), 2, engine::ValType::kI32);
    } else {
      types.push_back(Crosses<T>::kCore);
    }
  }

  static engine::FuncType core_type() {
    engine::FuncType type;
    (append_type<Args>(type.params), ...);
    if constexpr (kTextOut) {
      type.results.push_back(engine::ValType::kI32);
    } else if constexpr (!std::is_void_v<R>) {
      append_type<R>(type.results);
    }
    return type;
  }

  Status lower_and_call(std::array<engine::RawValue, kValues>& values, const Args&... args) const {
    if constexpr (kTextIn) {
      size_t next = 0;
      Status status;
      static_cast<void>((lower_one(values, next, args, status) && ...));
      if (!status.ok()) return status;
    } else {
      size_t next = 0;
      (Crosses<Args>::lower(args, values[next++]), ...);
    }
    return crossing_.call(values.data(), kValues);
  }

  template <typename T>
  bool lower_one(std::array<engine::RawValue, kValues>& values, size_t& next, const T& arg,
                 Status& status) const {
    if constexpr (kCrossesAsText<T>) {
      status = crossing_.lower(arg, &values[next]);
      next += 2;
    } else {
      Crosses<T>::lower(arg, values[next++]);
    }
    return status.ok();
  }

  Result<R> lift(const engine::RawValue& raw) const
    requires(!std::is_void_v<R>)
  {
    if constexpr (kTextOut) {
      R text = SPORE_TRY(crossing_.lift<R>(raw));
      if (!is_utf8(as_view(text))) return engine::bad_result("a string that is not UTF-8");
      return text;
    } else {
      return Crosses<R>::lift(raw);
    }
  }

  static std::string_view as_view(const std::string& text) { return text; }
  static std::string_view as_view(const ScratchText& text) { return text.view(); }

  Crossing crossing_;
};

// The same with types known at run time.  Must not outlive its Instance; bound to the same thread.
class DynamicFunction {
 public:
  static Result<DynamicFunction> create(engine::Store& store, const engine::InstanceHandle& instance,
                                        std::string_view name, Signature signature);

  const Signature& signature() const { return signature_; }

  // kInvalidArgument: a wrong number of arguments, or one of a wrong type, naming it.
  Result<std::vector<Value>> operator()(std::span<const Value> args) const;

 private:
  DynamicFunction(const Crossing& crossing, Signature signature, bool text, size_t values)
      : crossing_(crossing), signature_(std::move(signature)), text_(text), values_(values) {}

  Status check(std::span<const Value> args) const;
  Status lower(std::span<const Value> args, engine::RawValue* values) const;
  Result<Value> lift(ValueType type, const engine::RawValue& raw) const;
  Result<std::vector<Value>> run(std::span<const Value> args) const;

  Crossing crossing_;
  Signature signature_;
  bool text_;
  size_t values_;  // the larger of core arguments and results
};

}  // namespace spore::host
