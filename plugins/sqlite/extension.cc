// The extension's entry, and the functions by which functions are made: docs/sqlite.md.

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "plugins/sqlite/api.h"
#include "plugins/sqlite/connection.h"
#include "plugins/sqlite/process.h"
#include "spore/base/fd.h"
#include "spore/base/utf8.h"
#include "spore/base/version.h"
#include "spore/engine/engine.h"
#include "spore/handler/handler.h"
#include "spore/handler/language.h"
#include "spore/runtime/runtime.h"
#include "spore/udf/definition.h"

namespace spore::sqlite {

namespace {

using Arguments = std::span<sqlite3_value*>;
using udf::Definition;

// --- their arguments ------------------------------------------------------------------------------------

std::string_view bytes_of(sqlite3_value* value) {
  const bool blob = sqlite3_value_type(value) == SQLITE_BLOB;
  const void* bytes = blob ? sqlite3_value_blob(value) : sqlite3_value_text(value);
  if (bytes == nullptr) return {};
  return {static_cast<const char*>(bytes), static_cast<size_t>(sqlite3_value_bytes(value))};
}

bool is_null(sqlite3_value* value) { return sqlite3_value_type(value) == SQLITE_NULL; }

Result<std::string_view> text_of(Arguments arguments, size_t index, std::string_view what) {
  if (index >= arguments.size() || is_null(arguments[index])) return std::string_view();
  const int type = sqlite3_value_type(arguments[index]);
  if (type != SQLITE_TEXT) return Status::invalid_argument("the {} is {}, not TEXT", what, type_name(type));
  return bytes_of(arguments[index]);
}

Result<std::string_view> name_of(Arguments arguments) {
  const std::string_view name = SPORE_TRY(text_of(arguments, 0, "name"));
  if (name.empty()) return Status::invalid_argument("the name is missing");
  return name;
}

struct Source {
  std::string language;
  std::string bytes;
};

Result<std::string> file_text(std::string_view path, size_t bytes_max) {
  const std::vector<uint8_t> bytes = SPORE_TRY(read_file(std::filesystem::path(path), bytes_max));
  return std::string(bytes.begin(), bytes.end());
}

// A path, if it is one line that ends as files of the language do.
const handler::Language* language_of_path(std::string_view text) {
  constexpr size_t kPathBytesMax = 4096;
  if (text.size() > kPathBytesMax || text.find('\n') != std::string_view::npos) return nullptr;
  return handler::language_of(std::filesystem::path(text));
}

Result<Source> module_of(std::string_view path) {
  if (!path.ends_with(".wasm") && !path.ends_with(".wat")) {
    return Status::invalid_argument(
        "'{}' is no path of a module (.wasm); source text needs its language as fourth argument ({})",
        printable(path), handler::language_names());
  }
  udf::Maker& maker = *SPORE_TRY(process_maker());
  std::string bytes = SPORE_TRY(file_text(path, maker.runtime().options().module_bytes_max));
  if (!path.ends_with(".wat")) return Source{.language = "wasm", .bytes = std::move(bytes)};
  const std::vector<uint8_t> module = SPORE_TRY(engine::text_to_wasm(bytes));
  return Source{.language = "wasm", .bytes = std::string(module.begin(), module.end())};
}

Result<Source> source_of(sqlite3_value* value, std::string_view language) {
  const int type = sqlite3_value_type(value);
  if (type != SQLITE_TEXT && type != SQLITE_BLOB) {
    return Status::invalid_argument("the source is {}, not a BLOB of a module or a TEXT", type_name(type));
  }
  const std::string_view given = bytes_of(value);
  if (type == SQLITE_BLOB) {
    return Source{.language = std::string(language.empty() ? "wasm" : language), .bytes = std::string(given)};
  }
  const handler::Language* of_path = language_of_path(given);
  if (language == "wasm" || (language.empty() && of_path == nullptr)) return module_of(given);
  const std::string name(of_path != nullptr && language.empty() ? of_path->name : language);
  SPORE_TRY(handler::find_language(name));
  std::error_code none;
  const bool file = of_path != nullptr && of_path->name == name &&
                    std::filesystem::exists(std::filesystem::path(given), none);
  if (!file && language.empty()) return Status::not_found("there is no file '{}'", printable(given));
  if (!file) return Source{.language = name, .bytes = std::string(given)};
  std::string text = SPORE_TRY(file_text(given, handler::kSourceBytesMax));
  return Source{.language = name, .bytes = std::move(text)};
}

// --- functions of SQL -------------------------------------------------------------------------------------

// (name, source, signature[, language[, options]])
Status create(Connection& connection, sqlite3_context* context, Arguments arguments,
              Connection::Replace replace) {
  constexpr size_t kLeast = 2;
  constexpr size_t kMost = 5;
  if (arguments.size() < kLeast || arguments.size() > kMost) {
    return Status::invalid_argument(
        "it takes a name, a source, a signature, a language and options: 2 to 5, not {}", arguments.size());
  }
  const std::string_view name = SPORE_TRY(name_of(arguments));
  const std::string_view signature = SPORE_TRY(text_of(arguments, 2, "signature"));
  const std::string_view language = SPORE_TRY(text_of(arguments, 3, "language"));
  const std::string_view options = SPORE_TRY(text_of(arguments, 4, "options"));
  Definition definition;
  if (!options.empty()) SPORE_TRY(definition.apply_json(options).with_context("the options"));
  Source source = SPORE_TRY(source_of(arguments[1], language));
  definition.name = name;
  definition.language = std::move(source.language);
  if (!signature.empty()) definition.signature = signature;
  SPORE_TRY(connection.create(std::move(definition), source.bytes, replace));
  sqlite3_result_value(context, arguments[0]);
  return {};
}

Status on_create(Connection& connection, sqlite3_context* context, Arguments arguments) {
  return create(connection, context, arguments, Connection::Replace::kNo);
}

Status on_replace(Connection& connection, sqlite3_context* context, Arguments arguments) {
  return create(connection, context, arguments, Connection::Replace::kYes);
}

Status on_drop(Connection& connection, sqlite3_context* context, Arguments arguments) {
  const std::string_view name = SPORE_TRY(name_of(arguments));
  SPORE_TRY(connection.drop(name));
  sqlite3_result_value(context, arguments[0]);
  return {};
}

Status on_enable(Connection& connection, sqlite3_context* context, Arguments arguments) {
  const std::string_view name = SPORE_TRY(name_of(arguments));
  const bool integer = sqlite3_value_type(arguments[1]) == SQLITE_INTEGER;
  const int64_t enabled = integer ? sqlite3_value_int64(arguments[1]) : -1;
  if (enabled != 0 && enabled != 1) return Status::invalid_argument("enabled is 0 or 1");
  SPORE_TRY(connection.enable(name, enabled == 1));
  sqlite3_result_value(context, arguments[0]);
  return {};
}

Status on_load(Connection& connection, sqlite3_context* context, Arguments /*arguments*/) {
  const int64_t count = SPORE_TRY(connection.load());
  sqlite3_result_int64(context, count);
  return {};
}

Status on_version(Connection& /*connection*/, sqlite3_context* context, Arguments /*arguments*/) {
  const std::string_view text = version();
  sqlite3_result_text64(context, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
  return {};
}

struct Command {
  const char* name;
  int count;
  Status (*run)(Connection& connection, sqlite3_context* context, Arguments arguments);
};
constexpr std::array kCommands{
    Command{"spore_create_function", -1, &on_create}, Command{"spore_replace_function", -1, &on_replace},
    Command{"spore_drop_function", 1, &on_drop},      Command{"spore_enable_function", 2, &on_enable},
    Command{"spore_load_functions", 0, &on_load},     Command{"spore_version", 0, &on_version},
};

// What SQLite keeps for each.
struct Told {
  std::shared_ptr<Connection> connection;
  const Command* command;
};

void on_command(sqlite3_context* context, int count, sqlite3_value** values) {
  const Told& told = *static_cast<Told*>(sqlite3_user_data(context));
  fenced(context, told.command->name,
         [&] { return told.command->run(*told.connection, context, {values, static_cast<size_t>(count)}); });
}

Status tell_commands(sqlite3* db, const std::shared_ptr<Connection>& connection) {
  for (const Command& command : kCommands) {
    // Never for what is in a database file: they read files, and run what they are told to.  Deterministic,
    // as otherwise SQLite would let a CHECK call them (check_constraints).
    constexpr int kFlags = SQLITE_UTF8 | SQLITE_DIRECTONLY | SQLITE_DETERMINISTIC;
    const int code = sqlite3_create_function_v2(db, command.name, command.count, kFlags,
                                                new Told{connection, &command}, &on_command, nullptr, nullptr,
                                                [](void* told) { delete static_cast<Told*>(told); });
    if (code != SQLITE_OK) return last_error(db);
  }
  if (tell_functions_table(db, connection) != SQLITE_OK || tell_map_table(db, connection) != SQLITE_OK) {
    return last_error(db);
  }
  return {};
}

bool is_loaded(sqlite3* db) { return Statement::prepare(db, "SELECT spore_version()").ok(); }

Status begin(sqlite3* db) {
  if (is_loaded(db)) return {};
  const auto connection = std::make_shared<Connection>(db);
  SPORE_TRY(tell_commands(db, connection));
  const char* load = std::getenv("SPORE_SQLITE_LOAD");
  if (load == nullptr || std::string_view(load) != "1") return {};
  return connection->load().status().copy();
}

}  // namespace
}  // namespace spore::sqlite

// Stays loaded when the connection ends: threads run its code.
extern "C" __attribute__((visibility("default"))) int sqlite3_spore_init(sqlite3* db, char** error,
                                                                         const sqlite3_api_routines* api) {
  SQLITE_EXTENSION_INIT2(api)  // NOLINT
  constexpr int kVersionMin = 3038000;
  if (sqlite3_libversion_number() < kVersionMin) {
    *error = sqlite3_mprintf("spore needs SQLite 3.38 or newer, this is %s", sqlite3_libversion());
    return SQLITE_ERROR;
  }
  const int code = spore::sqlite::fenced_table(error, "spore", [&] { return spore::sqlite::begin(db); });
  return code == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : code;
}
