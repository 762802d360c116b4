#include "plugins/sqlite/connection.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "plugins/sqlite/process.h"
#include "spore/base/json.h"
#include "spore/base/utf8.h"

namespace spore::sqlite {

using udf::Definition;
using udf::Function;
using udf::FunctionKind;
using FunctionRef = std::shared_ptr<const Function>;

namespace {

// Numbers of what statements keep begin here: those of SQLite's own functions are elsewhere.
constexpr int kFirstPlace = -0x53000000;

// As SQLite compares names of functions.
std::string lower(std::string_view name) {
  std::string text(name);
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// By which SQLite says where it may be called, and whether its results may be kept in an index.
int flags_of(const Definition& definition) {
  int flags = SQLITE_UTF8 | kResultSubtype;
  if (definition.pure) flags |= SQLITE_DETERMINISTIC;
  flags |= definition.innocuous ? SQLITE_INNOCUOUS : SQLITE_DIRECTONLY;
  return flags;
}

constexpr int kAnyCount = -1;
int count_of(const Function& function) {
  const udf::Arity& arity = function.arity();
  if (takes_document(function) || arity.least != arity.most) return kAnyCount;
  return static_cast<int>(arity.least);
}

std::string json_of(const Definition& definition) {
  JsonWriter json;
  json.begin_object();
  definition.write_json(json);
  json.end_object();
  return json.take();
}

// The process says what its guests may use; a function, least of all one out of a file, cannot ask for more.
Status check_limits(const Definition& definition, const engine::Limits& limits) {
  struct Limit {
    std::string_view name;
    std::optional<uint64_t> asked;
    uint64_t most;
  };
  const std::array all{Limit{"deadline_ms", definition.deadline_ms, limits.deadline_ms},
                       Limit{"memory_bytes_max", definition.memory_bytes_max, limits.memory_bytes_max},
                       Limit{"copy_bytes_max", definition.copy_bytes_max, limits.copy_bytes_max}};
  for (const Limit& limit : all) {
    if (limit.asked.value_or(0) <= limit.most) continue;
    std::string variable = "SPORE_" + std::string(limit.name);
    std::ranges::transform(variable, variable.begin(), [](char c) {
      return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    });
    return Status::invalid_argument("{}: {}={} is more than this process allows ({}, set by {})",
                                    definition.name, limit.name, *limit.asked, limit.most, variable);
  }
  return {};
}

Status check_use(const Function& function) {
  const Definition& definition = function.definition();
  constexpr size_t kParamsMax = 62;  // of table functions: a constraint each, in 64 bits
  if (definition.kind == FunctionKind::kTable &&
      (definition.variadic || function.signature().params.size() > kParamsMax)) {
    return Status::unsupported("{}: a table function has at most {} parameters, and is not variadic",
                               definition.name, kParamsMax);
  }
  return {};
}

Result<FunctionRef> make(const Definition& definition, std::string_view source) {
  udf::Maker& maker = *SPORE_TRY(process_maker());
  SPORE_TRY(check_limits(definition, maker.runtime().options().limits));
  FunctionRef function = SPORE_TRY(maker.make(definition, bytes_of(source)));
  SPORE_TRY(check_use(*function));
  return function;
}

constexpr std::string_view kDisabled = "it is disabled (spore_enable_function)";

}  // namespace

bool takes_document(const Function& function) {
  const Definition& definition = function.definition();
  return function.reads_document() && definition.kind == FunctionKind::kScalar && !definition.variadic;
}

Result<FunctionRef> Named::get() const {
  if (callable()) return function;
  if (!present) return Status::not_found("no such function: {} ({})", name, why);
  return Status::unavailable("{}", why);
}

// SQLite 3.40 cannot be asked whether it was interrupted; but nothing is prepared while that stands, not even
// a blank, which costs no statement, no authoriser and no trace.  That it may be done here: it is the thread
// of the call, whose lock is recursive, and the wish is only forgotten when a statement begins and none is
// running, while ours is.
bool Connection::wants_end(void* data) noexcept {
  auto* connection = static_cast<Connection*>(data);
  sqlite3_stmt* none = nullptr;
  const int code = sqlite3_prepare_v2(connection->db_, " ", 1, &none, nullptr);
  sqlite3_finalize(none);
  return code == SQLITE_INTERRUPT;
}

Named* Connection::known(std::string_view name) const {
  const auto found = names_.find(lower(name));
  return found == names_.end() ? nullptr : found->second.get();
}

std::shared_ptr<Named> Connection::name(std::string_view name) {
  std::shared_ptr<Named>& named = names_[lower(name)];
  if (named == nullptr) {
    named = std::make_shared<Named>();
    named->name = name;
    named->place = kFirstPlace - static_cast<int>(names_.size());
    named->why = "it was not made";
  }
  return named;
}

std::vector<std::shared_ptr<const Named>> Connection::list() const {
  std::vector<std::shared_ptr<const Named>> list;
  for (const auto& [name, named] : names_) {
    if (named->present) list.push_back(named);
  }
  return list;
}

Result<FunctionRef> Connection::find(std::string_view name) const {
  const Named* named = known(name);
  if (named == nullptr) return Status::not_found("there is no function '{}'", printable(name));
  return named->get();
}

// --- what SQLite is told ----------------------------------------------------------------------------------

// Nobody else's function or module is put aside.
Status Connection::check_free(std::string_view name, bool table) const {
  constexpr std::array<std::string_view, 3> kReserved{"spore_", "sqlite_", "pragma_"};
  const std::string plain = lower(name);
  for (const std::string_view prefix : kReserved) {
    if (plain.starts_with(prefix))
      return Status::invalid_argument("names that begin with '{}' are taken", prefix);
  }
  if (!table) return {};
  Statement statement =
      SPORE_TRY(Statement::prepare(db_, "SELECT 1 FROM pragma_module_list WHERE name = ?1 COLLATE NOCASE"));
  statement.bind(1, name);
  if (!SPORE_TRY(statement.step())) return {};
  return Status::already_exists("'{}' is a virtual table of SQLite's, or of this program's", name);
}

// `named`: what is told of that name already, which is ours; or null.
Status Connection::check_count_free(const Named* named, std::string_view name, int count) const {
  const auto ours = [&](int each) { return named != nullptr && named->counts.contains(each); };
  Statement statement = SPORE_TRY(
      Statement::prepare(db_, "SELECT narg FROM pragma_function_list WHERE name = ?1 COLLATE NOCASE"));
  statement.bind(1, name);
  while (SPORE_TRY(statement.step())) {
    const int each = sqlite3_column_int(statement.get(), 0);
    if (ours(each) || (each != count && (each >= 0 || count < 0))) continue;
    return Status::already_exists("SQLite, or this program, has a function '{}' that takes as many arguments",
                                  name);
  }
  return {};
}

// Whether tell() can do its part; nothing is changed.
Status Connection::may_tell(const Named* named, const Definition& definition) const {
  const bool table = definition.kind == FunctionKind::kTable;
  const bool has = named != nullptr && (table ? !named->columns.empty() : named->told);
  if (!has) SPORE_TRY(check_free(definition.name, table));
  const bool asked = definition.pure || definition.innocuous || definition.kind != FunctionKind::kScalar;
  if (!asked) SPORE_TRY(check_constraints(db_, definition.name));
  if (table || !has) return {};
  if (named->flags == flags_of(definition) &&
      named->aggregate == (definition.kind == FunctionKind::kAggregate)) {
    return {};
  }
  return Status::unavailable(
      "'{}' is known to this connection with other settings (pure, innocuous or kind), which SQLite keeps "
      "until the "
      "connection is closed: do it in a new one, before spore_load_functions()",
      definition.name);
}

Status Connection::tell_count(const std::shared_ptr<Named>& named, int count) {
  if (named->counts.contains(count)) return {};
  SPORE_TRY(check_count_free(named.get(), named->name, count));
  auto* handle = new Handle{shared_from_this(), named, named->place};
  const int code = named->aggregate ? tell_aggregate(db_, handle, count) : tell_scalar(db_, handle, count);
  if (code != SQLITE_OK) {
    return Status::unavailable("SQLite does not take the function '{}' of {} arguments: {}", named->name,
                               count, sqlite3_errmsg(db_));
  }
  named->counts.insert(count);
  return {};
}

// `function`: null if it could not be made, or is not to be called.
Status Connection::tell(const std::shared_ptr<Named>& named, const Definition& definition,
                        const Function* function) {
  if (definition.kind == FunctionKind::kTable) {
    const std::string columns = function == nullptr ? "CREATE TABLE x(value)" : table_columns(*function);
    if (named->columns == columns && named->columns_innocuous == definition.innocuous) return {};
    // Statements that were prepared have the old columns still; what they find when they begin says so.
    std::string before = std::exchange(named->columns, columns);
    const bool innocuous_before = std::exchange(named->columns_innocuous, definition.innocuous);
    if (tell_table(db_, shared_from_this(), named) == SQLITE_OK) return {};
    named->columns = std::move(before);
    named->columns_innocuous = innocuous_before;
    return Status::unavailable("SQLite does not take the table function '{}': {}", named->name,
                               sqlite3_errmsg(db_));
  }
  if (!named->told) {
    named->told = true;
    named->flags = flags_of(definition);
    named->aggregate = definition.kind == FunctionKind::kAggregate;
  }
  return tell_count(named, function == nullptr ? kAnyCount : count_of(*function));
}

// --- changes ----------------------------------------------------------------------------------------------

Status Connection::create(Definition definition, std::string_view source, Replace replace) {
  SPORE_TRY(definition.check());
  SPORE_TRY(check_writable(db_));
  const Named* before = known(definition.name);
  const bool stored =
      SPORE_TRY(has_table(db_)) && read_stored(db_, definition.name).code() != Code::kNotFound;
  if (replace == Replace::kNo && (stored || (before != nullptr && before->present))) {
    return Status::already_exists("there is a function '{}' already (spore_replace_function)",
                                  definition.name);
  }
  SPORE_TRY(may_tell(before, definition));
  FunctionRef function = SPORE_TRY(make(definition, source));
  if (definition.kind != FunctionKind::kTable &&
      (before == nullptr || !before->counts.contains(count_of(*function)))) {
    SPORE_TRY(check_count_free(before, definition.name, count_of(*function)));
  }
  Savepoint savepoint = SPORE_TRY(Savepoint::begin(db_));
  const std::string digest = function->source_hash().hex();
  SPORE_TRY(write_stored(db_, definition, source, digest));
  const std::shared_ptr<Named> named = name(definition.name);
  SPORE_TRY(tell(named, definition, function.get()));
  SPORE_TRY(savepoint.release());
  named->function = std::move(function);
  named->why = definition.enabled ? "" : kDisabled;
  named->definition = std::move(definition);
  named->sha256 = digest;
  named->problem.clear();
  named->present = true;
  return {};
}

Status Connection::drop(std::string_view name) {
  SPORE_TRY(check_writable(db_));
  Named* named = known(name);
  if (!SPORE_TRY(remove_stored(db_, name)) && (named == nullptr || !named->present)) {
    return Status::not_found("there is no function '{}'", printable(name));
  }
  if (named == nullptr) return {};
  named->present = false;
  named->function = nullptr;
  named->why = "it was removed";
  return {};
}

Status Connection::enable(std::string_view name, bool enabled) {
  SPORE_TRY(check_writable(db_));
  const Stored stored = SPORE_TRY(read_stored(db_, name));
  Definition definition = SPORE_TRY(definition_of(stored));
  definition.enabled = enabled;
  Named* named = known(name);
  const bool loaded = named != nullptr && named->present;
  FunctionRef function = loaded ? named->function : nullptr;
  if (loaded && enabled && function == nullptr) {
    SPORE_TRY(may_tell(named, definition));
    function = SPORE_TRY(make(definition, stored.source));
  }
  Savepoint savepoint = SPORE_TRY(Savepoint::begin(db_));
  SPORE_TRY(write_options(db_, definition));
  if (loaded && enabled) SPORE_TRY(tell(names_[lower(name)], definition, function.get()));
  SPORE_TRY(savepoint.release());
  if (!loaded) return {};
  named->function = std::move(function);
  named->definition = std::move(definition);
  named->why = enabled ? "" : kDisabled;
  if (enabled) named->problem.clear();
  return {};
}

// --- loading
// ------------------------------------------------------------------------------------------------

void Connection::set_broken(const std::string& stored_name, const Definition* definition,
                            std::string problem) {
  sqlite3_log(SQLITE_WARNING, "spore: the function '%s' cannot be loaded: %s", stored_name.c_str(),
              problem.c_str());
  const std::shared_ptr<Named> named = name(stored_name);
  named->function = nullptr;
  named->why = fmt::format("it could not be loaded: {}", problem);
  named->problem = std::move(problem);
  named->present = true;
  named->sha256.clear();
  named->definition = definition == nullptr ? Definition{} : *definition;
  named->definition.name = stored_name;
  // So that a call of it says why.
  if (definition == nullptr || !may_tell(named.get(), *definition).ok()) return;
  static_cast<void>(tell(named, *definition, nullptr));
}

Status Connection::load_one(std::string_view stored_name) {
  std::optional<Definition> definition;
  const auto load = [&]() -> Status {
    const Stored stored = SPORE_TRY(read_stored(db_, stored_name));
    definition = SPORE_TRY(definition_of(stored));
    const Named* before = known(stored_name);
    const bool same = before != nullptr && before->present && before->problem.empty() &&
                      before->sha256 == stored.sha256 && json_of(before->definition) == json_of(*definition);
    if (same) return {};
    SPORE_TRY(may_tell(before, *definition));
    FunctionRef function;
    if (definition->enabled) function = SPORE_TRY(make(*definition, stored.source));
    const std::shared_ptr<Named> named = name(stored_name);
    SPORE_TRY(tell(named, *definition, function.get()));
    named->function = std::move(function);
    named->why = definition->enabled ? "" : kDisabled;
    named->definition = *definition;
    named->sha256 = stored.sha256;
    named->problem.clear();
    named->present = true;
    return {};
  };
  Status status = load();
  if (status.ok() || status.code() == Code::kCancelled) return status;
  set_broken(std::string(stored_name), definition ? &*definition : nullptr, std::string(status.message()));
  return {};
}

Result<int64_t> Connection::load() {
  const std::vector<std::string> stored = SPORE_TRY(stored_names(db_));
  for (const auto& entry : names_) {
    const std::shared_ptr<Named>& named = entry.second;
    const bool there =
        std::ranges::any_of(stored, [&](const std::string& each) { return lower(each) == entry.first; });
    if (there || !named->present) continue;
    named->present = false;
    named->function = nullptr;
    named->why = "it was removed";
  }
  int64_t count = 0;
  for (const std::string& each : stored) {
    SPORE_TRY(load_one(each));
    const Named* named = known(each);
    count += named != nullptr && named->callable() ? 1 : 0;
  }
  return count;
}

}  // namespace spore::sqlite
