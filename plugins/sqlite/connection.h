#pragma once

// What one connection has of functions.

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/sqlite/api.h"
#include "plugins/sqlite/store.h"
#include "spore/base/status.h"
#include "spore/udf/function.h"

namespace spore::sqlite {

// A name.  SQLite changes nothing of a function while a statement runs, and the SELECT that calls
// spore_create_function() is one: so what it was told of a name stays as long as the connection, and what the
// name stands for is changed here.  Statements that run go on with what they began with (StatementCall).
struct Named {
  std::string name;
  int place = 0;                                  // of what statements keep for it: below zero
  std::shared_ptr<const udf::Function> function;  // null: it was not made
  std::string why;                                // it cannot be called; empty: it can
  udf::Definition definition;
  std::string sha256;
  std::string problem;   // of one that could not be loaded
  bool present = false;  // else it was removed

  // What SQLite was told.
  bool told = false;
  int flags = 0;
  bool aggregate = false;
  std::set<int> counts;  // of arguments; -1: any

  // The columns of the module of that name; empty: there is none.
  std::string columns;
  bool columns_innocuous = false;

  bool callable() const { return why.empty(); }
  // kNotFound, kUnavailable: why not.
  Result<std::shared_ptr<const udf::Function>> get() const;
};

// Bound to the connection: SQLite's lock holds for it, too.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  explicit Connection(sqlite3* db) : db_(db) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  sqlite3* db() const { return db_; }
  // Ends a guest when sqlite3_interrupt() was called.
  udf::Watch watch() { return {.wants_end = &wants_end, .data = this}; }

  enum class Replace : uint8_t { kNo, kYes };
  // Makes it, keeps it in the database and tells SQLite of it; all of this or nothing.  kAlreadyExists;
  // kUnavailable: the database is read-only; kInvalidArgument: SQLite holds it by other flags; what
  // Maker::make says.
  Status create(udf::Definition definition, std::string_view source, Replace replace);
  Status drop(std::string_view name);
  Status enable(std::string_view name, bool enabled);
  // Those that the database has.  What cannot be made is there with its problem.  Gives how many can be
  // called. kCorruption: the table is none of Spore's.
  Result<int64_t> load();

  // In the order of their names, those that are there.
  std::vector<std::shared_ptr<const Named>> list() const;
  Result<std::shared_ptr<const udf::Function>> find(std::string_view name) const;

 private:
  static bool wants_end(void* data) noexcept;

  Named* known(std::string_view name) const;
  std::shared_ptr<Named> name(std::string_view name);
  Status check_free(std::string_view name, bool table) const;
  Status check_count_free(const Named* named, std::string_view name, int count) const;
  Status may_tell(const Named* named, const udf::Definition& definition) const;
  Status tell(const std::shared_ptr<Named>& named, const udf::Definition& definition,
              const udf::Function* function);
  Status tell_count(const std::shared_ptr<Named>& named, int count);
  Status load_one(std::string_view name);
  void set_broken(const std::string& name, const udf::Definition* definition, std::string problem);

  sqlite3* const db_;
  std::map<std::string, std::shared_ptr<Named>> names_;  // in lower case
};

// Whether the arguments behind its own are a document: of a module that reads one, the functions whose own
// arguments can be told from it.
bool takes_document(const udf::Function& function);

// What SQLite keeps for a function of ours, and gives each call.
struct Handle {
  std::shared_ptr<Connection> connection;
  std::shared_ptr<Named> named;
  int place;
};

// Has SQLite call them by that name with so many arguments.  What it says.
int tell_scalar(sqlite3* db, Handle* handle, int count);
int tell_aggregate(sqlite3* db, Handle* handle, int count);
// The module of a table function, with these columns; instead of one of other columns.
int tell_table(sqlite3* db, std::shared_ptr<Connection> connection, std::shared_ptr<Named> named);
// Its columns as declare_vtab() wants them.
std::string table_columns(const udf::Function& function);

// The tables `spore_functions` and `spore_map`.
int tell_functions_table(sqlite3* db, std::shared_ptr<Connection> connection);
int tell_map_table(sqlite3* db, std::shared_ptr<Connection> connection);

}  // namespace spore::sqlite
