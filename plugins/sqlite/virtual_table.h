#pragma once

// What this library's virtual tables have in common.  A Table and a Cursor begin with what SQLite has of
// them, `base`, and are new'ed by their owner's callbacks.

#include <memory>
#include <string_view>
#include <utility>

#include "plugins/sqlite/connection.h"

namespace spore::sqlite {

template <typename Table>
Table& table_at(sqlite3_vtab* base) {
  return *reinterpret_cast<Table*>(base);
}
template <typename Cursor>
Cursor& cursor_at(sqlite3_vtab_cursor* base) {
  return *reinterpret_cast<Cursor*>(base);
}

template <typename Table>
int disconnect(sqlite3_vtab* base) {
  delete &table_at<Table>(base);
  return SQLITE_OK;
}
template <typename Cursor>
int close(sqlite3_vtab_cursor* base) {
  delete &cursor_at<Cursor>(base);
  return SQLITE_OK;
}
// Of cursors whose rows are counted by `at`.
template <typename Cursor>
int next(sqlite3_vtab_cursor* base) {
  cursor_at<Cursor>(base).at++;
  return SQLITE_OK;
}
template <typename Cursor>
int rowid(sqlite3_vtab_cursor* base, sqlite3_int64* number) {
  *number = static_cast<sqlite3_int64>(cursor_at<Cursor>(base).at) + 1;
  return SQLITE_OK;
}
// Of cursors that need nothing to begin with.
template <typename Cursor>
int open(sqlite3_vtab* base, sqlite3_vtab_cursor** out) {
  return fenced_table(&base->zErrMsg, Cursor::kTable, [&]() -> Status {
    *out = &(new Cursor)->base;
    return {};
  });
}

// A module whose tables nobody creates: nothing of them can be made by what is in a database file.
template <typename Table, typename Cursor>
constexpr sqlite3_module eponymous(const sqlite3_module& own) {
  sqlite3_module module = own;
  module.xDisconnect = &disconnect<Table>;
  module.xClose = &close<Cursor>;
  return module;
}

// `data` is kept as long as the module is known, and given to xConnect as a Data*.
template <typename Data>
int tell_module(sqlite3* db, const char* name, const sqlite3_module& module, Data data) {
  return sqlite3_create_module_v2(db, name, &module, new Data(std::move(data)),
                                  [](void* kept) { delete static_cast<Data*>(kept); });
}

// A table of the connection itself, whose module was told with it.
struct ConnectionTable {
  sqlite3_vtab base{};
  std::shared_ptr<Connection> connection;

  // xConnect.  It tells of what is there, or runs what it is told: never on behalf of what is in a file.
  static Status connect(sqlite3* db, void* data, const char* columns, sqlite3_vtab** out) {
    if (sqlite3_declare_vtab(db, columns) != SQLITE_OK) return last_error(db);
    sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
    auto table = std::make_unique<ConnectionTable>();
    table->connection = *static_cast<std::shared_ptr<Connection>*>(data);
    *out = &table.release()->base;
    return {};
  }
};

}  // namespace spore::sqlite
