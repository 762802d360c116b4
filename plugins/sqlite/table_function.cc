// Table functions: what gives a list is a table of its items, whose hidden columns are its parameters.
//
//   SELECT word FROM words('a b c')      is      SELECT word FROM words WHERE text = 'a b c'

#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "plugins/sqlite/arguments.h"
#include "plugins/sqlite/connection.h"
#include "plugins/sqlite/results.h"
#include "plugins/sqlite/virtual_table.h"
#include "spore/udf/arguments.h"

namespace spore::sqlite {

using host::WitValue;
using wasm::WitKind;
using wasm::WitType;
using FunctionRef = std::shared_ptr<const udf::Function>;

namespace {

// A record's labels are written with '-', which SQL would have to quote.
std::string plain(std::string_view label) {
  std::string text(label);
  std::ranges::replace(text, '-', '_');
  return text;
}

bool has_parts(const WitType& item) { return item.kind == WitKind::kRecord || item.kind == WitKind::kTuple; }

std::vector<std::string> item_columns(const WitType& item) {
  std::vector<std::string> columns;
  if (item.kind == WitKind::kRecord) {
    for (const std::string& label : item.labels) columns.push_back(plain(label));
  } else if (item.kind == WitKind::kTuple) {
    for (size_t i = 1; i <= item.parts.size(); i++) columns.push_back(fmt::format("column{}", i));
  } else {
    columns.emplace_back("value");
  }
  return columns;
}

// What a list has: of bytes they are numbers.
const WitType& item_type(const udf::Function& function) {
  static const WitType kByte{.kind = WitKind::kU8};
  const WitType& list = *function.signature().result;
  return list.parts.empty() ? kByte : *list.parts[0];
}

struct Module {
  std::shared_ptr<Connection> connection;
  std::shared_ptr<Named> named;
};

struct Table {
  sqlite3_vtab base{};  // first: SQLite knows no more of it
  std::shared_ptr<Connection> connection;
  std::shared_ptr<Named> named;
  std::string declared;  // the columns of statements that use it
  size_t columns = 0;    // that are not hidden
  size_t params = 0;
  size_t least = 0;  // arguments that must be there
};

struct Cursor {
  sqlite3_vtab_cursor base{};
  FunctionRef function;
  std::unique_ptr<udf::Session> session;
  Arguments arguments;
  WitValue result;
  std::vector<sqlite3_value*> given;  // copies, null where none was
  size_t at = 0;

  ~Cursor() { forget(); }
  void forget() {
    for (sqlite3_value* value : given) sqlite3_value_free(value);
    given.clear();
  }
};

int on_connect(sqlite3* db, void* data, int /*argc*/, const char* const* /*argv*/, sqlite3_vtab** out,
               char** error) {
  const Module& module = *static_cast<Module*>(data);
  return fenced_table(error, module.named->name, [&]() -> Status {
    const FunctionRef function = SPORE_TRY(module.named->get());
    auto table = std::make_unique<Table>();
    table->connection = module.connection;
    table->named = module.named;
    table->declared = table_columns(*function);
    table->columns = item_columns(item_type(*function)).size();
    table->params = function->signature().params.size();
    table->least = function->arity().least;
    if (sqlite3_declare_vtab(db, table->declared.c_str()) != SQLITE_OK) return last_error(db);
    sqlite3_vtab_config(db,
                        function->definition().innocuous ? SQLITE_VTAB_INNOCUOUS : SQLITE_VTAB_DIRECTONLY);
    *out = &table.release()->base;
    return {};
  });
}

// `idxNum` is unused; `idxStr` has a digit for each parameter: whether it is given, in order.
int on_best_index(sqlite3_vtab* base, sqlite3_index_info* info) {
  const Table& table = table_at<Table>(base);
  std::vector<int> constraint(table.params, -1);
  bool unusable = false;
  for (int i = 0; i < info->nConstraint; i++) {
    const auto& each = info->aConstraint[i];
    if (each.op != SQLITE_INDEX_CONSTRAINT_EQ || each.iColumn < static_cast<int>(table.columns)) continue;
    if (each.usable != 0) {
      constraint[static_cast<size_t>(each.iColumn) - table.columns] = i;
    } else {
      unusable = true;
    }
  }
  int place = 0;
  std::string given;
  for (size_t i = 0; i < table.params; i++) {
    given += constraint[i] < 0 ? '0' : '1';
    if (constraint[i] < 0) continue;
    info->aConstraintUsage[constraint[i]] = {.argvIndex = ++place, .omit = 1};
  }
  const size_t lacking = given.substr(0, table.least).find('0');
  if (lacking != std::string::npos && unusable) return SQLITE_CONSTRAINT;  // of this plan: there are others
  info->idxStr = sqlite3_mprintf("%s", given.c_str());
  if (info->idxStr == nullptr) return SQLITE_NOMEM;
  info->needToFreeIdxStr = 1;
  constexpr double kNsOfRow = 100;  // of a plan, about
  constexpr double kRows = 25;
  const double ns = table.named->function == nullptr ? kNsOfRow : table.named->function->cost_ns();
  info->estimatedCost = ns / kNsOfRow + kRows;
  info->estimatedRows = static_cast<sqlite3_int64>(kRows);
  return SQLITE_OK;
}

int on_open(sqlite3_vtab* base, sqlite3_vtab_cursor** out) {
  Table& table = table_at<Table>(base);
  return fenced_table(&base->zErrMsg, table.named->name, [&]() -> Status {
    auto cursor = std::make_unique<Cursor>();
    cursor->function = SPORE_TRY(table.named->get());
    if (cursor->function->definition().kind != udf::FunctionKind::kTable ||
        table_columns(*cursor->function) != table.declared) {
      return Status::unavailable(
          "its columns have changed since the statement was prepared: prepare it again");
    }
    cursor->session = cursor->function->begin(table.connection->watch());
    *out = &cursor.release()->base;
    return {};
  });
}

Status fill(const Table& table, Cursor& cursor, std::string_view given, std::span<sqlite3_value*> values) {
  cursor.forget();
  cursor.at = 0;
  cursor.result.items.clear();
  cursor.result.text.clear();
  size_t count = 0;  // arguments, up to the last that is there
  size_t next = 0;
  for (size_t i = 0; i < given.size() && i < table.params; i++) {
    const bool there = given[i] == '1' && next < values.size();
    cursor.given.push_back(there ? sqlite3_value_dup(values[next]) : nullptr);
    if (!there) continue;
    if (cursor.given.back() == nullptr) return Status::limit_exceeded("out of memory");
    next++;
    count = i + 1;
  }
  std::vector<sqlite3_value*> args(cursor.given.begin(),
                                   cursor.given.begin() + static_cast<ptrdiff_t>(count));
  if (std::ranges::find(args, nullptr) != args.end()) {
    return Status::invalid_argument("an argument is missing: {}", cursor.function->signature().text());
  }
  const Taken taken = SPORE_TRY(cursor.arguments.set(*cursor.function, args));
  if (taken == Taken::kNull) return {};  // of nothing, no rows
  SPORE_TRY(cursor.session->call(cursor.arguments.get(), cursor.result));
  if (cursor.function->signature().result->kind == WitKind::kBytes) {
    constexpr size_t kRowsMax = size_t{1} << 20;  // each takes 64 bytes here
    if (cursor.result.text.size() > kRowsMax) {
      return Status::limit_exceeded("a table of {} bytes, each a row: at most {}", cursor.result.text.size(),
                                    kRowsMax);
    }
    for (const char byte : cursor.result.text)
      cursor.result.items.push_back({.bits = static_cast<uint8_t>(byte)});
  }
  return {};
}

int on_filter(sqlite3_vtab_cursor* base, int /*number*/, const char* given, int count,
              sqlite3_value** values) {
  Cursor& cursor = cursor_at<Cursor>(base);
  const Table& table = table_at<Table>(base->pVtab);
  return fenced_table(&base->pVtab->zErrMsg, table.named->name, [&] {
    return fill(table, cursor, given == nullptr ? "" : given, {values, static_cast<size_t>(count)});
  });
}

int on_eof(sqlite3_vtab_cursor* base) {
  const Cursor& cursor = cursor_at<Cursor>(base);
  return cursor.at >= cursor.result.items.size() ? 1 : 0;
}

int on_column(sqlite3_vtab_cursor* base, sqlite3_context* context, int column) {
  const Cursor& cursor = cursor_at<Cursor>(base);
  const Table& table = table_at<Table>(base->pVtab);
  fenced(context, table.named->name, [&]() -> Status {
    const auto place = static_cast<size_t>(column);
    if (place >= table.columns) {
      const size_t param = place - table.columns;
      if (param < cursor.given.size() && cursor.given[param] != nullptr) {
        sqlite3_result_value(context, cursor.given[param]);
      }
      return {};
    }
    const WitType& item = item_type(*cursor.function);
    const WitValue& value = cursor.result.items[cursor.at];
    if (has_parts(item)) return set_result(context, item.parts[place].get(), value.items[place]);
    return set_result(context, &item, value);
  });
  return SQLITE_OK;
}

constexpr sqlite3_module kModule = eponymous<Table, Cursor>({.xConnect = &on_connect,
                                                             .xBestIndex = &on_best_index,
                                                             .xOpen = &on_open,
                                                             .xFilter = &on_filter,
                                                             .xNext = &next<Cursor>,
                                                             .xEof = &on_eof,
                                                             .xColumn = &on_column,
                                                             .xRowid = &rowid<Cursor>});

}  // namespace

std::string table_columns(const udf::Function& function) {
  std::vector<std::string> names = item_columns(item_type(function));
  const size_t shown = names.size();
  const auto taken = [&](std::string_view name) {
    return std::ranges::any_of(names, [&](const std::string& each) {
      return sqlite3_stricmp(each.c_str(), std::string(name).c_str()) == 0;
    });
  };
  for (const wasm::WitParam& param : function.signature().params) {
    std::string name = plain(param.name);
    while (taken(name)) name.insert(0, "param_");
    names.push_back(std::move(name));
  }
  std::string sql = "CREATE TABLE x(";
  for (size_t i = 0; i < names.size(); i++) {
    sql += fmt::format("{}\"{}\"{}", i == 0 ? "" : ", ", names[i], i < shown ? "" : " HIDDEN");
  }
  return sql + ")";
}

int tell_table(sqlite3* db, std::shared_ptr<Connection> connection, std::shared_ptr<Named> named) {
  const std::string name = named->name;
  return tell_module(db, name.c_str(), kModule, Module{std::move(connection), std::move(named)});
}

}  // namespace spore::sqlite
