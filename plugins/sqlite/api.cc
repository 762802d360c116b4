#include "plugins/sqlite/api.h"

#include <utility>

const sqlite3_api_routines* sqlite3_api = nullptr;  // given to the entry

namespace spore::sqlite {
namespace {

// "rank: what went wrong"; some that say it say the name themselves.
std::string message_of(std::string_view name, const Status& status) {
  const std::string_view message = status.message();
  const bool named = message.starts_with(name) && message.substr(name.size()).starts_with(": ");
  if (named || name.empty()) return std::string(message);
  return fmt::format("{}: {}", name, message);
}

}  // namespace

std::string_view type_name(int type) {
  switch (type) {
    case SQLITE_INTEGER: return "INTEGER";
    case SQLITE_FLOAT: return "REAL";
    case SQLITE_TEXT: return "TEXT";
    case SQLITE_BLOB: return "BLOB";
    default: return "NULL";
  }
}

void set_error(sqlite3_context* context, std::string_view name, const Status& status) {
  const std::string message = message_of(name, status);
  sqlite3_result_error(context, message.data(), static_cast<int>(message.size()));
  if (status.code() == Code::kCancelled) sqlite3_result_error_code(context, SQLITE_INTERRUPT);
}

int table_error(char** message, std::string_view name, const Status& status) {
  const std::string text = message_of(name, status);
  sqlite3_free(*message);
  *message = sqlite3_mprintf("%.*s", static_cast<int>(text.size()), text.data());
  return status.code() == Code::kCancelled ? SQLITE_INTERRUPT : SQLITE_ERROR;
}

Status last_error(sqlite3* db) {
  const int code = sqlite3_errcode(db);
  const std::string message(sqlite3_errmsg(db));
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_READONLY: return Status::unavailable("{}", message);
    case SQLITE_INTERRUPT: return Status::cancelled("{}", message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return Status::corruption("{}", message);
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG: return Status::limit_exceeded("{}", message);
    default: return Status::invalid_argument("{}", message);
  }
}

Result<Statement> Statement::prepare(sqlite3* db, std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db, sql.data(), static_cast<int>(sql.size()), &statement, nullptr) != SQLITE_OK) {
    return last_error(db);
  }
  return Statement(db, statement);
}

void Statement::bind(int index, std::string_view text) {
  sqlite3_bind_text64(statement_, index, text.data() == nullptr ? "" : text.data(), text.size(),
                      SQLITE_STATIC, SQLITE_UTF8);
}

void Statement::bind_blob(int index, std::string_view bytes) {
  sqlite3_bind_blob64(statement_, index, bytes.data() == nullptr ? "" : bytes.data(), bytes.size(),
                      SQLITE_STATIC);
}

Result<bool> Statement::step() {
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW: return true;
    case SQLITE_DONE: return false;
    default: return last_error(db_);
  }
}

Status Statement::run() {
  while (SPORE_TRY(step())) {
  }
  return {};
}

std::string_view Statement::text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return text == nullptr
             ? std::string_view()
             : std::string_view(text, static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}

std::string_view Statement::blob(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  return bytes == nullptr
             ? std::string_view()
             : std::string_view(bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}

}  // namespace spore::sqlite
