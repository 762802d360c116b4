#include "plugins/sqlite/store.h"

#include <algorithm>
#include <utility>

#include "spore/base/hash.h"
#include "spore/base/json.h"
#include "spore/base/utf8.h"
#include "spore/udf/registry.h"

namespace spore::sqlite {

namespace {

// As SQLite keeps it: compared byte by byte.
constexpr std::string_view kTable =
    "CREATE TABLE spore_function("
    "name TEXT NOT NULL COLLATE NOCASE PRIMARY KEY, "
    "language TEXT NOT NULL, "
    "signature TEXT NOT NULL, "
    "options TEXT NOT NULL, "
    "source BLOB NOT NULL, "
    "sha256 TEXT NOT NULL, "
    "created TEXT NOT NULL)";

constexpr size_t kOptionsBytesMax = size_t{64} << 10;

std::string options_of(const udf::Definition& definition) {
  JsonWriter json;
  json.begin_object();
  definition.write_json(json);
  json.end_object();
  return json.take();
}

Status run(sqlite3* db, std::string_view sql) {
  Statement statement = SPORE_TRY(Statement::prepare(db, sql));
  return statement.run();
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Past blanks and comments.
size_t skip_blanks(std::string_view sql, size_t at) {
  while (at < sql.size()) {
    size_t end = at;
    if (std::string_view(" \t\r\n\f").find(sql[at]) != std::string_view::npos) {
      end = at + 1;
    } else if (sql.substr(at).starts_with("/*")) {
      end = sql.find("*/", at + 2);
      end = end == std::string_view::npos ? sql.size() : end + 2;
    } else if (sql.substr(at).starts_with("--")) {
      end = std::min(sql.find('\n', at), sql.size());
    }
    if (end == at) break;
    at = end;
  }
  return at;
}

// The name as a word, perhaps in quotes, and a bracket behind it.  In a text it counts as well: that does no
// harm.
bool calls(std::string_view sql, std::string_view name) {
  for (size_t at = 0; at + name.size() < sql.size(); at++) {
    if (sqlite3_strnicmp(sql.data() + at, name.data(), static_cast<int>(name.size())) != 0) continue;
    size_t end = at + name.size();
    if ((at > 0 && is_word(sql[at - 1])) || is_word(sql[end])) continue;
    if (std::string_view("\"`]'").find(sql[end]) != std::string_view::npos) end++;
    end = skip_blanks(sql, end);
    if (end < sql.size() && sql[end] == '(') return true;
  }
  return false;
}

}  // namespace

Status check_constraints(sqlite3* db, std::string_view name) {
  Statement databases =
      SPORE_TRY(Statement::prepare(db, "SELECT name FROM pragma_database_list WHERE name <> 'temp'"));
  while (SPORE_TRY(databases.step())) {
    std::string quoted;
    for (const char c : databases.text(0)) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    Statement tables = SPORE_TRY(Statement::prepare(
        db, fmt::format("SELECT name, sql FROM \"{}\".sqlite_schema WHERE sql LIKE '%check%'", quoted)));
    while (SPORE_TRY(tables.step())) {
      if (!calls(tables.text(1), name)) continue;
      return Status::unavailable(
          "the table '{}' calls it in a constraint, which only functions may be that are innocuous",
          printable(tables.text(0)));
    }
  }
  return {};
}

Result<Savepoint> Savepoint::begin(sqlite3* db) {
  SPORE_TRY(run(db, "SAVEPOINT spore_function"));
  return Savepoint(db);
}

Savepoint::~Savepoint() {
  if (db_ == nullptr) return;
  static_cast<void>(run(db_, "ROLLBACK TO spore_function"));
  static_cast<void>(run(db_, "RELEASE spore_function"));
}

Status Savepoint::release() {
  SPORE_TRY(run(db_, "RELEASE spore_function"));
  db_ = nullptr;
  return {};
}

Status check_writable(sqlite3* db) {
  if (sqlite3_db_readonly(db, "main") != 1) return {};
  return Status::unavailable("the database is read-only: functions cannot be kept in it, nor changed");
}

Result<bool> has_table(sqlite3* db) {
  Statement statement = SPORE_TRY(Statement::prepare(
      db, "SELECT sql FROM main.sqlite_schema WHERE name = 'spore_function' COLLATE NOCASE"));
  if (!SPORE_TRY(statement.step())) return false;
  if (statement.text(0) != kTable) {
    return Status::corruption("'spore_function' in this database is not the table that Spore makes");
  }
  return true;
}

Result<std::vector<std::string>> stored_names(sqlite3* db) {
  std::vector<std::string> names;
  if (!SPORE_TRY(has_table(db))) return names;
  Statement statement = SPORE_TRY(
      Statement::prepare(db, fmt::format("SELECT name FROM main.spore_function ORDER BY name LIMIT {}",
                                         udf::Registry::kFunctionsMax + 1)));
  while (SPORE_TRY(statement.step())) names.emplace_back(statement.text(0));
  if (names.size() > udf::Registry::kFunctionsMax) {
    return Status::limit_exceeded("the table has more than {} functions", udf::Registry::kFunctionsMax);
  }
  return names;
}

Result<Stored> read_stored(sqlite3* db, std::string_view name) {
  if (!SPORE_TRY(has_table(db))) return Status::not_found("there is no function '{}'", printable(name));
  Statement statement = SPORE_TRY(Statement::prepare(
      db,
      "SELECT name, language, signature, options, source, sha256 FROM main.spore_function WHERE name = ?1"));
  statement.bind(1, name);
  if (!SPORE_TRY(statement.step())) return Status::not_found("there is no function '{}'", printable(name));
  constexpr int kColumns = 6;
  constexpr int kSource = 4;
  for (int i = 0; i < kColumns; i++) {
    const int type = sqlite3_column_type(statement.get(), i);
    if (type == (i == kSource ? SQLITE_BLOB : SQLITE_TEXT)) continue;
    return Status::corruption("its {} is {} in the table", sqlite3_column_name(statement.get(), i),
                              type_name(type));
  }
  return Stored{.name = std::string(statement.text(0)),
                .language = std::string(statement.text(1)),
                .signature = std::string(statement.text(2)),
                .options = std::string(statement.text(3)),
                .source = std::string(statement.blob(kSource)),
                .sha256 = std::string(statement.text(5))};
}

Status write_stored(sqlite3* db, const udf::Definition& definition, std::string_view source,
                    std::string_view sha256) {
  if (!SPORE_TRY(has_table(db))) {
    std::string sql(kTable);
    sql.replace(0, std::string_view("CREATE TABLE ").size(), "CREATE TABLE main.");
    SPORE_TRY(run(db, sql));
  }
  Statement statement =
      SPORE_TRY(Statement::prepare(db,
                                   "INSERT OR REPLACE INTO main.spore_function(name, language, signature, "
                                   "options, source, sha256, created) "
                                   "VALUES(?1, ?2, ?3, ?4, ?5, ?6, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))"));
  const std::string options = options_of(definition);
  statement.bind(1, definition.name);
  statement.bind(2, definition.language);
  statement.bind(3, definition.signature);
  statement.bind(4, options);
  statement.bind_blob(5, source);
  statement.bind(6, sha256);
  return statement.run();
}

Status write_options(sqlite3* db, const udf::Definition& definition) {
  if (!SPORE_TRY(has_table(db))) return Status::not_found("there is no function '{}'", definition.name);
  Statement statement =
      SPORE_TRY(Statement::prepare(db, "UPDATE main.spore_function SET options = ?1 WHERE name = ?2"));
  const std::string options = options_of(definition);
  statement.bind(1, options);
  statement.bind(2, definition.name);
  SPORE_TRY(statement.run());
  if (sqlite3_changes(db) == 0)
    return Status::not_found("there is no function '{}' in the database", definition.name);
  return {};
}

Result<bool> remove_stored(sqlite3* db, std::string_view name) {
  if (!SPORE_TRY(has_table(db))) return false;
  Statement statement = SPORE_TRY(Statement::prepare(db, "DELETE FROM main.spore_function WHERE name = ?1"));
  statement.bind(1, name);
  SPORE_TRY(statement.run());
  return sqlite3_changes(db) != 0;
}

Result<udf::Definition> definition_of(const Stored& stored) {
  if (stored.options.size() > kOptionsBytesMax)
    return Status::corruption("its options are {} bytes", stored.options.size());
  udf::Definition definition;
  SPORE_TRY(definition.apply_json(stored.options).with_context("its options"));
  definition.name = stored.name;
  definition.language = stored.language;
  definition.signature = stored.signature;
  const Digest digest =
      sha256(std::span(reinterpret_cast<const uint8_t*>(stored.source.data()), stored.source.size()));
  if (digest.hex() != stored.sha256)
    return Status::corruption("its source is not as it was written (sha256)");
  SPORE_TRY(definition.check());
  return definition;
}

}  // namespace spore::sqlite
