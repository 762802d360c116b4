// The table `spore_functions`: what this connection has of functions, with what became of their calls.

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "plugins/sqlite/connection.h"
#include "plugins/sqlite/virtual_table.h"

namespace spore::sqlite {

namespace {

using NamedRef = std::shared_ptr<const Named>;

void text(sqlite3_context* context, std::string_view value) {
  sqlite3_result_text64(context, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

struct Column {
  std::string_view name;
  void (*give)(sqlite3_context* context, const Named& named);
};

template <auto kMember>
constexpr Column text_column(std::string_view name) {
  return {name,
          [](sqlite3_context* context, const Named& named) { text(context, named.definition.*kMember); }};
}

template <auto kMember>
constexpr Column flag_column(std::string_view name) {
  return {name, [](sqlite3_context* context, const Named& named) {
            sqlite3_result_int(context, named.definition.*kMember ? 1 : 0);
          }};
}

template <auto kMember>
constexpr Column count_column(std::string_view name) {
  return {name, [](sqlite3_context* context, const Named& named) {
            if (named.function == nullptr) return;
            const uint64_t count = (named.function->statistics().*kMember).load();
            sqlite3_result_int64(context, static_cast<sqlite3_int64>(count));
          }};
}

using udf::Definition;
using udf::FunctionStatistics;

constexpr std::array kColumns{
    text_column<&Definition::name>("name"),
    text_column<&Definition::language>("language"),
    text_column<&Definition::version>("version"),
    Column{"kind", [](sqlite3_context* context,
                      const Named& named) { text(context, udf::function_kind_name(named.definition.kind)); }},
    Column{"signature",
           [](sqlite3_context* context, const Named& named) {
             text(context, named.function == nullptr ? named.definition.signature
                                                     : named.function->signature().text());
           }},
    Column{"arity",
           [](sqlite3_context* context, const Named& named) {
             if (named.function != nullptr) text(context, named.function->arity().text());
           }},
    flag_column<&Definition::pure>("pure"),
    flag_column<&Definition::innocuous>("innocuous"),
    flag_column<&Definition::enabled>("enabled"),
    Column{"isolation",
           [](sqlite3_context* context, const Named& named) {
             text(context, udf::isolation_name(named.definition.isolation));
           }},
    count_column<&FunctionStatistics::calls>("calls"),
    count_column<&FunctionStatistics::errors>("errors"),
    Column{"mean_us",
           [](sqlite3_context* context, const Named& named) {
             constexpr double kNsOfUs = 1000;
             if (named.function == nullptr) return;
             const double ns = named.function->statistics().mean_ns();
             if (ns > 0) sqlite3_result_double(context, ns / kNsOfUs);
           }},
    count_column<&FunctionStatistics::memo_hits>("memo_hits"),
    Column{"sha256", [](sqlite3_context* context, const Named& named) { text(context, named.sha256); }},
    text_column<&Definition::description>("description"),
    text_column<&Definition::author>("author"),
    text_column<&Definition::category>("category"),
    Column{"problem",
           [](sqlite3_context* context, const Named& named) {
             if (!named.problem.empty()) text(context, named.problem);
           }},
};

constexpr const char* kName = "spore_functions";

struct Cursor {
  static constexpr const char* kTable = kName;
  sqlite3_vtab_cursor base{};
  std::vector<NamedRef> rows;
  size_t at = 0;
};

int on_connect(sqlite3* db, void* data, int /*argc*/, const char* const* /*argv*/, sqlite3_vtab** out,
               char** error) {
  return fenced_table(error, kName, [&]() -> Status {
    std::string sql = "CREATE TABLE x(";
    for (const Column& column : kColumns)
      sql += fmt::format("{}{}", sql.ends_with('(') ? "" : ", ", column.name);
    return ConnectionTable::connect(db, data, (sql + ")").c_str(), out);
  });
}

int on_best_index(sqlite3_vtab* /*table*/, sqlite3_index_info* info) {
  constexpr double kRows = 100;
  info->estimatedCost = kRows;
  return SQLITE_OK;
}

int on_filter(sqlite3_vtab_cursor* base, int /*number*/, const char* /*text*/, int /*count*/,
              sqlite3_value** /*values*/) {
  Cursor& cursor = cursor_at<Cursor>(base);
  return fenced_table(&base->pVtab->zErrMsg, kName, [&]() -> Status {
    cursor.rows = table_at<ConnectionTable>(base->pVtab).connection->list();
    cursor.at = 0;
    return {};
  });
}

int on_eof(sqlite3_vtab_cursor* base) {
  const Cursor& cursor = cursor_at<Cursor>(base);
  return cursor.at >= cursor.rows.size() ? 1 : 0;
}

int on_column(sqlite3_vtab_cursor* base, sqlite3_context* context, int column) {
  const Cursor& cursor = cursor_at<Cursor>(base);
  fenced(context, kName, [&]() -> Status {
    kColumns[static_cast<size_t>(column)].give(context, *cursor.rows[cursor.at]);
    return {};
  });
  return SQLITE_OK;
}

constexpr sqlite3_module kModule = eponymous<ConnectionTable, Cursor>({.xConnect = &on_connect,
                                                                       .xBestIndex = &on_best_index,
                                                                       .xOpen = &open<Cursor>,
                                                                       .xFilter = &on_filter,
                                                                       .xNext = &next<Cursor>,
                                                                       .xEof = &on_eof,
                                                                       .xColumn = &on_column,
                                                                       .xRowid = &rowid<Cursor>});

}  // namespace

int tell_functions_table(sqlite3* db, std::shared_ptr<Connection> connection) {
  return tell_module(db, kName, kModule, std::move(connection));
}

}  // namespace spore::sqlite
