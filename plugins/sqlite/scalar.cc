// Calls of scalar functions.

#include <array>
#include <bit>
#include <memory>
#include <span>

#include "plugins/sqlite/arguments.h"
#include "plugins/sqlite/connection.h"
#include "plugins/sqlite/results.h"
#include "plugins/sqlite/row_document.h"
#include "spore/host/canonical.h"

namespace spore::sqlite {

using engine::RawValue;
using host::WitFunction;
using host::WitValue;
using wasm::WitKind;
using wasm::WitType;

namespace {

// What the canonical ABI lets cross as core values.
constexpr size_t kNumbersMax = 16;

// What a statement has of a function from its first call on.
class StatementCall {
 public:
  StatementCall(const udf::Function& function, const udf::Watch& watch)
      : session_(function.begin(watch)), function_(session_->function()) {
    const wasm::WitSignature& signature = function_.signature();
    if (!session_->numbers() || signature.result == nullptr || signature.params.size() > kNumbersMax) return;
    count_ = static_cast<int>(signature.params.size());
    for (size_t i = 0; i < signature.params.size(); i++) kinds_[i] = signature.params[i].type->kind;
    result_kind_ = signature.result->kind;
  }

  // Of the most frequent types alone, with no Status on the way: a row of a query may cost less than that.
  // False: nothing was called, and call() knows better.
  bool try_call(sqlite3_context* context, int count, sqlite3_value** values) {
    if (count != count_) return false;
    std::array<RawValue, kNumbersMax> raw;
    for (int i = 0; i < count; i++) {
      const int given = sqlite3_value_type(values[i]);
      RawValue& value = raw[static_cast<size_t>(i)];
      if (given == SQLITE_FLOAT && kinds_[static_cast<size_t>(i)] == WitKind::kF64) {
        value.f64 = sqlite3_value_double(values[i]);
      } else if (given != SQLITE_INTEGER || !take_integer(kinds_[static_cast<size_t>(i)], values[i], value)) {
        return false;
      }
    }
    if (!session_->call_numbers(raw.data(), static_cast<size_t>(count))) [[unlikely]] {
      set_error(context, function_.name(), session_->take_failure());
      return true;
    }
    switch (result_kind_) {  // of these no bits are wrong
      case WitKind::kF64: sqlite3_result_double(context, raw[0].f64); return true;
      case WitKind::kS64: sqlite3_result_int64(context, raw[0].i64); return true;
      case WitKind::kS32: sqlite3_result_int64(context, raw[0].i32); return true;
      default: set_lifted(context, raw[0]); return true;
    }
  }

  Status call(sqlite3_context* context, std::span<sqlite3_value*> values) {
    return static_cast<int>(values.size()) == count_ ? call_numbers(context, values)
                                                     : call_values(context, values);
  }

 private:
  static bool take_integer(WitKind kind, sqlite3_value* value, RawValue& raw) {
    const int64_t integer = sqlite3_value_int64(value);
    switch (kind) {
      case WitKind::kF64: raw.f64 = static_cast<double>(integer); return true;
      case WitKind::kS64: raw.i64 = integer; return true;
      case WitKind::kS32:
        raw.i64 = static_cast<uint32_t>(integer);
        return integer == static_cast<int32_t>(integer);
      default: return false;
    }
  }

  void set_lifted(sqlite3_context* context, const RawValue& value) {
    const WitType& type = *function_.signature().result;
    const Result<uint64_t> bits = WitFunction::lift_number(type, value);
    if (bits.ok()) return set_number(context, type, bits.value());
    set_error(context, function_.name(), bits.status());
  }

  // Any numbers.
  Status call_numbers(sqlite3_context* context, std::span<sqlite3_value*> values) {
    std::array<RawValue, kNumbersMax> raw;
    const std::vector<wasm::WitParam>& params = function_.signature().params;
    for (size_t i = 0; i < values.size(); i++) {
      const WitType& type = *params[i].type;
      uint64_t bits = 0;
      const Taken taken = take_number(type, values[i], bits);
      if (taken != Taken::kValue) [[unlikely]] {
        if (taken == Taken::kWrong) return wrong_argument(function_, i, values[i]);
        sqlite3_result_null(context);
        return {};
      }
      raw[i] = WitFunction::lower_number(type.kind, bits);
    }
    if (!session_->call_numbers(raw.data(), values.size())) [[unlikely]]
      return session_->take_failure();
    set_lifted(context, raw[0]);
    return {};
  }

  Status call_values(sqlite3_context* context, std::span<sqlite3_value*> values) {
    std::span<sqlite3_value*> own = values;
    const udf::Document* document = nullptr;
    if (takes_document(function_)) {
      const size_t count = function_.signature().params.size();
      if (values.size() > count) {
        own = values.first(count);
        SPORE_TRY(document_.set(values.subspan(count)));
        document = document_.get();
      }
    }
    const Taken taken = SPORE_TRY(arguments_.set(function_, own));
    if (taken == Taken::kNull) {
      sqlite3_result_null(context);
      return {};
    }
    SPORE_TRY(session_->call(arguments_.get(), result_, document));
    return set_result(context, function_.signature().result.get(), result_);
  }

  const std::unique_ptr<udf::Session> session_;
  const udf::Function& function_;
  int count_ = -1;  // of arguments, if all are numbers, and the result is one
  std::array<WitKind, kNumbersMax> kinds_{};
  WitKind result_kind_{};
  Arguments arguments_;
  CallDocument document_;
  WitValue result_;
};

void forget(void* call) noexcept { delete static_cast<StatementCall*>(call); }

Status call_first(sqlite3_context* context, const Handle& handle, std::span<sqlite3_value*> values) {
  const std::shared_ptr<const udf::Function> function = SPORE_TRY(handle.named->get());
  if (function->definition().kind != udf::FunctionKind::kScalar) {
    return Status::invalid_argument("it is of kind {}: SELECT * FROM {}(...)",
                                    udf::function_kind_name(function->definition().kind), function->name());
  }
  auto made = std::make_unique<StatementCall>(*function, handle.connection->watch());
  sqlite3_set_auxdata(context, handle.place, made.release(), &forget);
  auto* kept = static_cast<StatementCall*>(sqlite3_get_auxdata(context, handle.place));
  if (kept != nullptr) return kept->call(context, values);
  // It was thrown away: there is no memory, or no statement, as a query is only planned.
  return StatementCall(*function, handle.connection->watch()).call(context, values);
}

void on_call(sqlite3_context* context, int count, sqlite3_value** values) {
  const Handle& handle = *static_cast<Handle*>(sqlite3_user_data(context));
  // Below zero what is kept is the statement's, until it ends or is reset; that is what SQLite's own JSON
  // functions keep their cache by.  From zero on it would be that of a constant argument of one call in the
  // text of the statement, and gone after each call whose argument is not constant.
  auto* call = static_cast<StatementCall*>(sqlite3_get_auxdata(context, handle.place));
  fenced(context, handle.named->name, [&]() -> Status {
    if (call != nullptr && call->try_call(context, count, values)) [[likely]]
      return {};
    const std::span arguments(values, static_cast<size_t>(count));
    return call != nullptr ? call->call(context, arguments) : call_first(context, handle, arguments);
  });
}

void destroy(void* handle) noexcept { delete static_cast<Handle*>(handle); }

}  // namespace

int tell_scalar(sqlite3* db, Handle* handle, int count) {
  return sqlite3_create_function_v2(db, handle->named->name.c_str(), count, handle->named->flags, handle,
                                    &on_call, nullptr, nullptr, &destroy);
}

}  // namespace spore::sqlite
