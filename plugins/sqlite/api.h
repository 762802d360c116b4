#pragma once

// SQLite, as an extension calls it: by the table of functions that it is given when it is loaded.

#include <sqlite3ext.h>

#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "spore/base/status.h"

extern const sqlite3_api_routines* sqlite3_api;  // by which the names of sqlite3ext.h call

namespace spore::sqlite {
// Newer than the headers; older versions pass over it.
inline constexpr int kResultSubtype = 0x001000000;

// "TEXT", of SQLITE_TEXT.
std::string_view type_name(int type);

// The error of a call: SQLITE_INTERRUPT if it was cancelled.
void set_error(sqlite3_context* context, std::string_view name, const Status& status);

// Runs what gives a Status, and has SQLite be told of it: nothing unwinds into C.
template <typename Body>
void fenced(sqlite3_context* context, std::string_view name, const Body& body) noexcept {
  try {
    const Status status = body();
    if (!status.ok()) [[unlikely]]
      set_error(context, name, status);
  } catch (const std::bad_alloc&) {
    sqlite3_result_error_nomem(context);
  } catch (const std::exception& error) {
    sqlite3_result_error(context, error.what(), -1);
  }
}

// The same for a virtual table, which gives a code and leaves its message at `message`.
int table_error(char** message, std::string_view name, const Status& status);
template <typename Body>
int fenced_table(char** message, std::string_view name, const Body& body) noexcept {
  try {
    const Status status = body();
    return status.ok() ? SQLITE_OK : table_error(message, name, status);
  } catch (const std::bad_alloc&) {
    return SQLITE_NOMEM;
  } catch (const std::exception&) {
    return SQLITE_ERROR;
  }
}

// A statement of this library's own, finalised at its end.
class Statement {
 public:
  // kInternal and the like: what SQLite says.
  static Result<Statement> prepare(sqlite3* db, std::string_view sql);
  Statement(Statement&& other) noexcept
      : db_(other.db_), statement_(std::exchange(other.statement_, nullptr)) {}
  ~Statement() { sqlite3_finalize(statement_); }
  Statement& operator=(Statement&&) = delete;

  sqlite3_stmt* get() const { return statement_; }
  // What is bound must live as long as it runs.
  void bind(int index, std::string_view text);
  void bind_blob(int index, std::string_view bytes);
  void bind(int index, int64_t value) { sqlite3_bind_int64(statement_, index, value); }
  // Whether there is a row.
  Result<bool> step();
  Status run();
  std::string_view text(int column) const;
  std::string_view blob(int column) const;

 private:
  Statement(sqlite3* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
  sqlite3* db_;
  sqlite3_stmt* statement_;
};

// What SQLite says of the last call that failed.
Status last_error(sqlite3* db);

}  // namespace spore::sqlite
