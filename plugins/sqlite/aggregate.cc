// Aggregates: a group is an instance of its own, from its first row to its result.

#include <memory>
#include <span>
#include <utility>

#include "plugins/sqlite/arguments.h"
#include "plugins/sqlite/connection.h"
#include "plugins/sqlite/results.h"

namespace spore::sqlite {

using FunctionRef = std::shared_ptr<const udf::Function>;

namespace {

struct Rows {
  FunctionRef function;
  std::unique_ptr<udf::Group> group;
  Arguments arguments;
  bool failed = false;
};

// Where SQLite keeps a group: zeroes at first, and never destroyed but by xFinal, which it calls in any case.
struct Place {
  Rows* rows;
};

void forget(void* function) noexcept { delete static_cast<FunctionRef*>(function); }

// The one that the statement began with: its groups are of the same function.
Result<FunctionRef> function_of(sqlite3_context* context, const Handle& handle) {
  if (auto* kept = static_cast<FunctionRef*>(sqlite3_get_auxdata(context, handle.place))) return *kept;
  FunctionRef function = SPORE_TRY(handle.named->get());
  auto kept = std::make_unique<FunctionRef>(function);
  sqlite3_set_auxdata(context, handle.place, kept.release(), &forget);
  return function;
}

Result<std::unique_ptr<Rows>> begin(FunctionRef function, const Handle& handle) {
  auto rows = std::make_unique<Rows>();
  rows->group = SPORE_TRY(function->begin_group(handle.connection->watch()));
  rows->function = std::move(function);
  return rows;
}

void on_step(sqlite3_context* context, int count, sqlite3_value** values) {
  const Handle& handle = *static_cast<Handle*>(sqlite3_user_data(context));
  fenced(context, handle.named->name, [&]() -> Status {
    auto* place = static_cast<Place*>(sqlite3_aggregate_context(context, sizeof(Place)));
    if (place == nullptr) return Status::limit_exceeded("out of memory");
    if (place->rows == nullptr) {
      FunctionRef function = SPORE_TRY(function_of(context, handle));
      std::unique_ptr<Rows> made = SPORE_TRY(begin(std::move(function), handle));
      place->rows = made.release();
    }
    Rows& rows = *place->rows;
    // A row with a NULL that cannot be said does not count, as with SQL's own aggregates.
    rows.failed = true;  // until it did not
    const Taken taken = SPORE_TRY(rows.arguments.set(*rows.function, {values, static_cast<size_t>(count)}));
    if (taken != Taken::kNull) SPORE_TRY(rows.group->step(rows.arguments.get()));
    rows.failed = false;
    return {};
  });  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): SQLite keeps it until xFinal
}

void on_final(sqlite3_context* context) {
  const Handle& handle = *static_cast<Handle*>(sqlite3_user_data(context));
  fenced(context, handle.named->name, [&]() -> Status {
    auto* place = static_cast<Place*>(sqlite3_aggregate_context(context, 0));
    std::unique_ptr<Rows> rows(place == nullptr ? nullptr : std::exchange(place->rows, nullptr));
    // A step failed: the statement has its error.
    if ((place != nullptr && rows == nullptr) || (rows != nullptr && rows->failed)) return {};
    // No row: what the function makes of nothing; that of now, as auxiliary data cannot be asked for here.
    if (rows == nullptr) {
      FunctionRef function = SPORE_TRY(handle.named->get());
      rows = SPORE_TRY(begin(std::move(function), handle));
    }
    host::WitValue result;
    SPORE_TRY(rows->group->finish(result));
    return set_result(context, rows->function->signature().result.get(), result);
  });  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): it is a unique_ptr
}

void destroy(void* handle) noexcept { delete static_cast<Handle*>(handle); }

}  // namespace

int tell_aggregate(sqlite3* db, Handle* handle, int count) {
  return sqlite3_create_function_v2(db, handle->named->name.c_str(), count, handle->named->flags, handle,
                                    nullptr, &on_step, &on_final, &destroy);
}

}  // namespace spore::sqlite
