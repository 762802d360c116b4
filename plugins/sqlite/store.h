#pragma once

// The table `spore_function` of a database, which keeps its functions.  What a database file holds is
// foreign: nothing of it is believed.

#include <string>
#include <string_view>
#include <vector>

#include "plugins/sqlite/api.h"
#include "spore/base/status.h"
#include "spore/udf/definition.h"

namespace spore::sqlite {

// A row, as it was read.
struct Stored {
  std::string name;
  std::string language;
  std::string signature;
  std::string options;
  std::string source;
  std::string sha256;
};

// All or nothing of what is done in its life: rolled back at its end but for release().
class Savepoint {
 public:
  // kUnavailable: a statement that writes is running.
  static Result<Savepoint> begin(sqlite3* db);
  Savepoint(Savepoint&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}
  ~Savepoint();
  Savepoint& operator=(Savepoint&&) = delete;
  Status release();

 private:
  explicit Savepoint(sqlite3* db) : db_(db) {}
  sqlite3* db_;
};

// kUnavailable: the database is read-only.
Status check_writable(sqlite3* db);
// Whether the database has the table.  kCorruption: it has something of its name that Spore has not made,
// which may be a view or a virtual table, and run whatever it likes when it is read.
Result<bool> has_table(sqlite3* db);

// Before a function that is neither deterministic nor innocuous is told of.  kUnavailable: a constraint of a
// table calls it by its name.  SQLite lets nothing in a schema call what is SQLITE_DIRECTONLY, but asks that
// of functions in CHECK only if they are deterministic (3.40).
Status check_constraints(sqlite3* db, std::string_view name);

// Of a database without the table none.
Result<std::vector<std::string>> stored_names(sqlite3* db);
// kNotFound, and what is wrong with the row: kCorruption.
Result<Stored> read_stored(sqlite3* db, std::string_view name);
// Writes the table if it is not there, and the row, instead of one of the same name.
Status write_stored(sqlite3* db, const udf::Definition& definition, std::string_view source,
                    std::string_view sha256);
Status write_options(sqlite3* db, const udf::Definition& definition);
// Whether there was such a row.
Result<bool> remove_stored(sqlite3* db, std::string_view name);

// kCorruption, kInvalidArgument: what of it is not as it was written.
Result<udf::Definition> definition_of(const Stored& stored);

}  // namespace spore::sqlite
