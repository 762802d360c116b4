// The table `spore_map`: a scalar function over the rows of a query, many to a crossing.
//
//   SELECT "row", result, error FROM spore_map('rank', 'SELECT text, boost FROM t')
//
// Columns behind the function's own arguments are the fields of the row's document, for functions that read
// one; such rows are called for one by one.  A row that fails has its error, and the others their results.

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "plugins/sqlite/arguments.h"
#include "plugins/sqlite/connection.h"
#include "plugins/sqlite/results.h"
#include "plugins/sqlite/row_document.h"
#include "plugins/sqlite/virtual_table.h"
#include "spore/udf/arguments.h"

namespace spore::sqlite {

using host::WitArg;
using host::WitValue;
using FunctionRef = std::shared_ptr<const udf::Function>;

namespace {

constexpr const char* kName = "spore_map";
constexpr size_t kBlockRows = 1000;
constexpr size_t kBlockBytesMax = size_t{8} << 20;  // of text, above which a block is full

enum Columns : int { kRow, kResult, kError, kFunction, kQuery };

// The rows of the query that are called for at once.
class Block {
 public:
  explicit Block(FunctionRef function, const udf::Watch& watch)
      : function_(std::move(function)), session_(function_->begin(watch)) {}

  size_t size() const { return rows_.size(); }

  // Reads the next rows, and calls for them.
  Status fill(Statement& query) {
    const auto columns = static_cast<size_t>(sqlite3_column_count(query.get()));
    const size_t params = function_->signature().params.size();
    const size_t width = takes_document(*function_) ? std::min(columns, params) : columns;
    rows_.clear();
    args_.clear();
    results_.clear();
    values_.resize(kBlockRows * width);
    size_t called = 0;
    size_t bytes = 0;
    while (rows_.size() < kBlockRows && bytes < kBlockBytesMax && !ended_) {
      ended_ = !SPORE_TRY(query.step());  // a statement that is stepped behind its end begins anew
      if (ended_) break;
      rows_.push_back(take(query, std::span(values_).subspan(called * width, width), bytes));
      if (!rows_.back().call) continue;
      rows_.back().place = called++;
      if (columns > width) call_with_document(query, width, columns);
    }
    if (called > 0 && columns <= width) session_->call_batch({.args = args_, .count = called}, results_);
    for (const Result<WitValue>& result : results_) {
      if (result.code() == Code::kCancelled) return result.status().copy();
    }
    return {};
  }

  Status set(sqlite3_context* context, size_t index, bool error) const {
    const Row& row = rows_[index];
    if (row.wrong) {
      if (error) give_error(context, row.wrong->message());
      return {};
    }
    if (!row.call) return {};
    const Result<WitValue>& result = results_[row.place];
    if (!result.ok()) {
      if (error) give_error(context, result.status().message());
      return {};
    }
    const wasm::WitType* type = function_->signature().result.get();
    // A result that is an error fails its row alone, too.
    const bool is_error = type != nullptr && type->kind == wasm::WitKind::kResult && result.value().bits == 1;
    if (error != is_error) return {};
    const Status status = set_result(context, type, result.value());
    if (!status.ok()) give_error(context, status.message());
    return {};
  }

 private:
  struct Row {
    bool call = false;            // else NULL was in it, or it is wrong
    size_t place = 0;             // of its result
    std::optional<Status> wrong;  // its arguments are
  };

  static void give_error(sqlite3_context* context, std::string_view message) {
    sqlite3_result_text64(context, message.data(), message.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  }

  // The row that was taken last.
  void call_with_document(const Statement& query, size_t width, size_t columns) {
    document_.clear();
    for (size_t i = width; i < columns; i++) {
      const int column = static_cast<int>(i);
      const char* name = sqlite3_column_name(query.get(), column);
      document_.add(name == nullptr ? "" : name, sqlite3_column_value(query.get(), column));
    }
    WitValue result;
    Status status = session_->call(arguments_.get(), result, &document_);
    if (status.ok()) {
      results_.emplace_back(std::move(result));
    } else {
      results_.emplace_back(std::move(status));
    }
  }

  // The query's own values go with its next step: what is text is copied.  (They may be read here: the lock
  // of the connection is held, in which we are called.)
  Row take(Statement& query, std::span<WitValue> place, size_t& bytes) {
    given_.clear();
    for (size_t i = 0; i < place.size(); i++)
      given_.push_back(sqlite3_column_value(query.get(), static_cast<int>(i)));
    Result<Taken> taken = arguments_.set(*function_, given_);
    if (!taken.ok()) return {.wrong = std::move(taken).status()};
    if (taken.value() == Taken::kNull) return {};
    for (size_t i = 0; i < place.size(); i++) {
      const WitArg& arg = arguments_.get()[i];
      if (host::is_number(udf::argument_type(*function_, i).kind)) {
        args_.push_back(arg);
        continue;
      }
      if (arg.value != nullptr) {
        place[i] = *arg.value;
      } else {
        place[i].text = arg.text;
      }
      bytes += arg.text.size() + sizeof(WitValue);
      args_.emplace_back(place[i]);
    }
    return {.call = true};
  }

  const FunctionRef function_;
  const std::unique_ptr<udf::Session> session_;
  Arguments arguments_;
  RowDocument document_;
  std::vector<sqlite3_value*> given_;
  std::vector<WitValue> values_;
  std::vector<WitArg> args_;
  std::vector<Row> rows_;
  std::vector<Result<WitValue>> results_;
  bool ended_ = false;  // the query
};

struct Cursor {
  static constexpr const char* kTable = kName;
  sqlite3_vtab_cursor base{};
  std::string function;
  std::string text;
  std::optional<Statement> query;
  std::unique_ptr<Block> block;
  size_t at = 0;       // in the block
  int64_t before = 0;  // rows of earlier blocks
};

int on_connect(sqlite3* db, void* data, int /*argc*/, const char* const* /*argv*/, sqlite3_vtab** out,
               char** error) {
  return fenced_table(error, kName, [&]() -> Status {
    return ConnectionTable::connect(
        db, data, "CREATE TABLE x(\"row\", result, error, function HIDDEN, query HIDDEN)", out);
  });
}

int on_best_index(sqlite3_vtab* base, sqlite3_index_info* info) {
  int found = 0;
  for (int i = 0; i < info->nConstraint; i++) {
    const auto& each = info->aConstraint[i];
    if (each.op != SQLITE_INDEX_CONSTRAINT_EQ || each.iColumn < kFunction) continue;
    if (each.usable == 0) return SQLITE_CONSTRAINT;
    info->aConstraintUsage[i] = {.argvIndex = each.iColumn - kFunction + 1, .omit = 1};
    found |= 1 << (each.iColumn - kFunction);
  }
  constexpr int kBoth = 3;
  if (found != kBoth) {
    sqlite3_free(base->zErrMsg);
    base->zErrMsg = sqlite3_mprintf("spore_map takes the name of a function and a query");
    return SQLITE_ERROR;
  }
  constexpr double kCost = 1e6;
  info->estimatedCost = kCost;
  return SQLITE_OK;
}

Status next_block(Cursor& cursor) {
  cursor.before += static_cast<int64_t>(cursor.block->size());
  cursor.at = 0;
  return cursor.block->fill(*cursor.query);
}

Status begin(Cursor& cursor, Connection& connection) {
  cursor.block.reset();
  cursor.query.reset();
  cursor.before = 0;
  FunctionRef function = SPORE_TRY(connection.find(cursor.function));
  if (function->definition().kind != udf::FunctionKind::kScalar) {
    return Status::unsupported("{}: it is for scalar functions", function->name());
  }
  Statement query = SPORE_TRY(Statement::prepare(connection.db(), cursor.text));
  cursor.query.emplace(std::move(query));
  if (cursor.query->get() == nullptr || sqlite3_stmt_readonly(cursor.query->get()) == 0) {
    return Status::invalid_argument("the query is none that only reads");
  }
  const auto columns = static_cast<size_t>(sqlite3_column_count(cursor.query->get()));
  const size_t params = function->signature().params.size();
  SPORE_TRY(udf::check_count(*function, takes_document(*function) ? std::min(columns, params) : columns));
  cursor.block = std::make_unique<Block>(std::move(function), connection.watch());
  return next_block(cursor);
}

int on_filter(sqlite3_vtab_cursor* base, int /*number*/, const char* /*text*/, int count,
              sqlite3_value** values) {
  Cursor& cursor = cursor_at<Cursor>(base);
  return fenced_table(&base->pVtab->zErrMsg, kName, [&]() -> Status {
    if (count != 2) return Status::internal("{} arguments", count);
    for (int i = 0; i < count; i++) {
      if (sqlite3_value_type(values[i]) != SQLITE_TEXT) {
        return Status::invalid_argument("it takes the name of a function and a query, both TEXT");
      }
      std::string& text = i == 0 ? cursor.function : cursor.text;
      text = reinterpret_cast<const char*>(sqlite3_value_text(values[i]));
    }
    return begin(cursor, *table_at<ConnectionTable>(base->pVtab).connection);
  });
}

int on_next(sqlite3_vtab_cursor* base) {
  Cursor& cursor = cursor_at<Cursor>(base);
  if (++cursor.at < cursor.block->size()) return SQLITE_OK;
  return fenced_table(&base->pVtab->zErrMsg, kName, [&] { return next_block(cursor); });
}

int on_eof(sqlite3_vtab_cursor* base) {
  const Cursor& cursor = cursor_at<Cursor>(base);
  return cursor.block == nullptr || cursor.at >= cursor.block->size() ? 1 : 0;
}

int64_t row_of(const Cursor& cursor) { return cursor.before + static_cast<int64_t>(cursor.at) + 1; }

int on_column(sqlite3_vtab_cursor* base, sqlite3_context* context, int column) {
  const Cursor& cursor = cursor_at<Cursor>(base);
  fenced(context, kName, [&]() -> Status {
    switch (column) {
      case kRow: sqlite3_result_int64(context, row_of(cursor)); return {};
      case kResult: return cursor.block->set(context, cursor.at, false);
      case kError: return cursor.block->set(context, cursor.at, true);
      case kFunction:
        sqlite3_result_text64(context, cursor.function.data(), cursor.function.size(), SQLITE_TRANSIENT,
                              SQLITE_UTF8);
        return {};
      default:
        sqlite3_result_text64(context, cursor.text.data(), cursor.text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
        return {};
    }
  });
  return SQLITE_OK;
}

int on_rowid(sqlite3_vtab_cursor* base, sqlite3_int64* rowid) {
  *rowid = row_of(cursor_at<Cursor>(base));
  return SQLITE_OK;
}

constexpr sqlite3_module kModule = eponymous<ConnectionTable, Cursor>({.xConnect = &on_connect,
                                                                       .xBestIndex = &on_best_index,
                                                                       .xOpen = &open<Cursor>,
                                                                       .xFilter = &on_filter,
                                                                       .xNext = &on_next,
                                                                       .xEof = &on_eof,
                                                                       .xColumn = &on_column,
                                                                       .xRowid = &on_rowid});

}  // namespace

int tell_map_table(sqlite3* db, std::shared_ptr<Connection> connection) {
  return tell_module(db, kName, kModule, std::move(connection));
}

}  // namespace spore::sqlite
