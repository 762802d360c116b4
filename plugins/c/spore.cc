// include/spore.h: runtimes, registries, functions and calls.

#include "include/spore.h"

#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "plugins/c/document.h"
#include "plugins/c/status.h"
#include "plugins/c/values.h"
#include "spore/base/json.h"
#include "spore/base/version.h"
#include "spore/engine/engine.h"
#include "spore/runtime/options.h"
#include "spore/runtime/runtime.h"
#include "spore/udf/arguments.h"
#include "spore/udf/function.h"
#include "spore/udf/maker.h"
#include "spore/udf/registry.h"

using spore::Result;
using spore::Status;
using spore::c::Arguments;
using spore::c::Calling;
using spore::c::copied;
using spore::c::fenced;
using spore::c::value_of;

namespace spore::c {

// What all handles keep: so they may be freed in any order.
struct Core {
  std::unique_ptr<runtime::Runtime> runtime;
  std::unique_ptr<udf::Maker> maker;
};
using CoreRef = std::shared_ptr<Core>;

}  // namespace spore::c

struct spore_runtime {
  spore::c::CoreRef core;
};
struct spore_registry {
  spore::c::CoreRef core;
  std::unique_ptr<spore::udf::Registry> registry;
};
struct spore_function {
  spore::c::CoreRef core;
  std::shared_ptr<const spore::udf::Function> function;
  std::string signature;
};
struct spore_session {
  spore::c::CoreRef core;
  Calling calling;
  std::unique_ptr<spore::udf::Session> session;
  Arguments arguments;
  spore::host::WitValue result;
};
struct spore_group {
  spore::c::CoreRef core;
  Calling calling;
  std::shared_ptr<const spore::udf::Function> function;
  std::unique_ptr<spore::udf::Group> group;
};

namespace spore::c {

namespace {

Result<CoreRef> make_core(std::span<const spore_option> given) {
  std::filesystem::path home;
  for (const spore_option& option : given) {
    if (std::strcmp(option.name, "home") != 0) continue;
    home = option.value;
    if (home.empty()) home = SPORE_TRY(runtime::default_home());
  }
  runtime::RuntimeOptions defaults;
  defaults.compile_in = runtime::CompileIn::kHelperOrProcess;
  runtime::RuntimeOptions options = std::move(defaults);
  if (!home.empty()) options = SPORE_TRY(runtime::home_options(home, std::move(options)));
  for (const spore_option& option : given) {
    if (std::strcmp(option.name, "home") == 0) continue;
    SPORE_TRY(runtime::set_option(options, option.name, option.value));
  }
  auto core = std::make_shared<Core>();
  core->runtime = SPORE_TRY(runtime::Runtime::create(std::move(options)));
  core->maker = std::make_unique<udf::Maker>(*core->runtime, udf::MakerOptions{.home = std::move(home)});
  return core;
}

spore_function* handle_of(const CoreRef& core, std::shared_ptr<const udf::Function> function) {
  std::string signature = function->signature().text();
  return new spore_function{.core = core, .function = std::move(function), .signature = std::move(signature)};
}

const wasm::WitType* result_type(const udf::Function& function) { return function.signature().result.get(); }

}  // namespace
}  // namespace spore::c

using namespace spore;     // NOLINT(google-build-using-namespace)
using namespace spore::c;  // NOLINT(google-build-using-namespace)

extern "C" {

const char* spore_version(void) {
  static const std::string text(version());
  return text.c_str();
}

// --- runtimes -------------------------------------------------------------------------------------------

spore_status* spore_runtime_create(const spore_option* options, size_t count, spore_runtime** out) {
  return fenced([&]() -> Status {
    CoreRef core = SPORE_TRY(make_core({options, count}));
    *out = new spore_runtime{.core = std::move(core)};
    return {};
  });
}

void spore_runtime_free(spore_runtime* runtime) { delete runtime; }

spore_status* spore_runtime_statistics(const spore_runtime* runtime, char** json) {
  return fenced([&]() -> Status {
    JsonWriter writer;
    writer.begin_object();
    runtime->core->runtime->statistics().write_json(writer);
    writer.begin_object("memo");
    if (const auto& memo = runtime->core->maker->memo()) memo->statistics().write_json(writer);
    writer.end_object().end_object();
    *json = copied(writer.take());
    return {};
  });
}

spore_status* spore_text_to_wasm(const char* text, size_t size, uint8_t** wasm, size_t* wasm_size) {
  return fenced([&]() -> Status {
    const std::vector<uint8_t> bytes = SPORE_TRY(engine::text_to_wasm({text, size}));
    *wasm = reinterpret_cast<uint8_t*>(copied({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
    *wasm_size = bytes.size();
    return {};
  });
}

// --- registries -----------------------------------------------------------------------------------------

spore_status* spore_registry_create(spore_runtime* runtime, spore_registry** out) {
  return fenced([&]() -> Status {
    auto registry = std::make_unique<udf::Registry>(*runtime->core->maker);
    *out = new spore_registry{.core = runtime->core, .registry = std::move(registry)};
    return {};
  });
}

spore_status* spore_registry_open(spore_runtime* runtime, const char* directory, spore_registry** out) {
  return fenced([&]() -> Status {
    std::unique_ptr<udf::Registry> registry =
        SPORE_TRY(udf::Registry::open(*runtime->core->maker, directory));
    *out = new spore_registry{.core = runtime->core, .registry = std::move(registry)};
    return {};
  });
}

void spore_registry_free(spore_registry* registry) { delete registry; }

spore_status* spore_registry_add(spore_registry* registry, const char* definition, const void* source,
                                 size_t source_size, int replace, spore_function** out) {
  return fenced([&]() -> Status {
    udf::Definition parsed;
    SPORE_TRY(parsed.apply_json(definition).with_context("the definition"));
    std::shared_ptr<const udf::Function> function =
        SPORE_TRY(registry->registry->add(parsed, {static_cast<const uint8_t*>(source), source_size},
                                          replace != 0 ? udf::Replace::kYes : udf::Replace::kNo));
    if (out != nullptr) *out = handle_of(registry->core, std::move(function));
    return {};
  });
}

spore_status* spore_registry_find(spore_registry* registry, const char* name, spore_function** out) {
  return fenced([&]() -> Status {
    std::shared_ptr<const udf::Function> function = SPORE_TRY(registry->registry->find(name));
    *out = handle_of(registry->core, std::move(function));
    return {};
  });
}

spore_status* spore_registry_list(spore_registry* registry, const char* pattern, char** json) {
  return fenced([&]() -> Status {
    JsonWriter writer;
    writer.begin_object().begin_array("functions");
    std::vector<udf::Registry::Broken> all_broken;
    for (const auto& function : registry->registry->list(pattern == nullptr ? "*" : pattern, &all_broken)) {
      writer.begin_object();
      function->write_json(writer);
      writer.end_object();
    }
    writer.end_array().begin_array("broken");
    for (const udf::Registry::Broken& broken : all_broken) {
      writer.begin_object().field("name", broken.name).field("why", broken.why).end_object();
    }
    writer.end_array().end_object();
    *json = copied(writer.take());
    return {};
  });
}

spore_status* spore_registry_enable(spore_registry* registry, const char* name, int enabled) {
  return fenced([&] { return registry->registry->enable(name, enabled != 0); });
}

spore_status* spore_registry_remove(spore_registry* registry, const char* name) {
  return fenced([&] { return registry->registry->remove(name); });
}

// --- functions ------------------------------------------------------------------------------------------

void spore_function_free(spore_function* function) { delete function; }
const char* spore_function_name(const spore_function* function) { return function->function->name().c_str(); }
const char* spore_function_signature(const spore_function* function) { return function->signature.c_str(); }

spore_status* spore_function_describe(const spore_function* function, char** json) {
  return fenced([&]() -> Status {
    JsonWriter writer;
    writer.begin_object();
    function->function->write_json(writer);
    writer.end_object();
    *json = copied(writer.take());
    return {};
  });
}

spore_status* spore_function_call(const spore_function* function, const spore_value* args, size_t count,
                                  const spore_call_options* options, spore_value* result) {
  return fenced([&]() -> Status {
    const udf::Function& called = *function->function;
    Calling calling;
    SPORE_TRY(calling.set(options));
    Arguments arguments;
    SPORE_TRY(arguments.add(called, {args, count}));
    host::WitValue value;
    SPORE_TRY(
        called.call(arguments.args(), value, {.document = calling.document(), .watch = calling.watch()}));
    *result = value_of(result_type(called), value);
    return {};
  });
}

spore_status* spore_function_call_json(const spore_function* function, const char* args,
                                       const spore_call_options* options, char** result) {
  return fenced([&]() -> Status {
    const udf::Function& called = *function->function;
    Calling calling;
    SPORE_TRY(calling.set(options));
    const std::vector<host::WitValue> values = SPORE_TRY(udf::arguments_from_json(called, args));
    const std::vector<host::WitArg> references(values.begin(), values.end());
    host::WitValue value;
    SPORE_TRY(called.call(references, value, {.document = calling.document(), .watch = calling.watch()}));
    const wasm::WitType* type = result_type(called);
    *result = copied(type == nullptr ? "null" : host::to_json(*type, value));
    return {};
  });
}

spore_status* spore_function_call_batch(const spore_function* function, const spore_value* args, size_t width,
                                        size_t rows, const spore_call_options* options, spore_value* results,
                                        spore_status** errors) {
  return fenced([&]() -> Status {
    const udf::Function& called = *function->function;
    Calling calling;
    SPORE_TRY(calling.set(options));
    Arguments arguments;
    for (size_t row = 0; row < rows; row++) {
      SPORE_TRY(
          arguments.add(called, {args + row * width, width}).with_context(fmt::format("row {}", row + 1)));
    }
    std::vector<Result<host::WitValue>> made;
    called.call_batch({.args = arguments.args(), .count = rows}, made,
                      {.document = calling.document(), .watch = calling.watch()});
    SPORE_ASSERT(made.size() == rows, "a batch without a result for each row");
    for (size_t row = 0; row < rows; row++) {
      errors[row] = to_c(made[row].status());
      results[row] = made[row].ok() ? value_of(result_type(called), made[row].value()) : spore_value_null();
    }
    return {};
  });
}

// --- sessions and groups --------------------------------------------------------------------------------

spore_status* spore_session_begin(const spore_function* function, int shared,
                                  const spore_call_options* options, spore_session** out) {
  return fenced([&]() -> Status {
    auto session = std::make_unique<spore_session>();
    session->core = function->core;
    SPORE_TRY(session->calling.set(options));
    session->session = function->function->begin(
        session->calling.watch(), shared != 0 ? udf::Isolation::kStatement : udf::Isolation::kCall);
    *out = session.release();
    return {};
  });
}

spore_status* spore_session_call(spore_session* session, const spore_value* args, size_t count,
                                 spore_value* result) {
  return fenced([&]() -> Status {
    const udf::Function& called = session->session->function();
    session->arguments.clear();
    SPORE_TRY(session->arguments.add(called, {args, count}));
    SPORE_TRY(
        session->session->call(session->arguments.args(), session->result, session->calling.document()));
    *result = value_of(result_type(called), session->result);
    return {};
  });
}

void spore_session_free(spore_session* session) { delete session; }

spore_status* spore_group_begin(const spore_function* function, const spore_call_options* options,
                                spore_group** out) {
  return fenced([&]() -> Status {
    auto group = std::make_unique<spore_group>();
    group->core = function->core;
    SPORE_TRY(group->calling.set(options));
    group->function = function->function;
    group->group = SPORE_TRY(function->function->begin_group(group->calling.watch()));
    *out = group.release();
    return {};
  });
}

spore_status* spore_group_step(spore_group* group, const spore_value* args, size_t count) {
  return fenced([&]() -> Status {
    Arguments arguments;
    SPORE_TRY(arguments.add(*group->function, {args, count}));
    return group->group->step(arguments.args());
  });
}

spore_status* spore_group_finish(spore_group* group, spore_value* result) {
  return fenced([&]() -> Status {
    host::WitValue value;
    SPORE_TRY(group->group->finish(value));
    *result = value_of(result_type(*group->function), value);
    return {};
  });
}

void spore_group_free(spore_group* group) { delete group; }

}  // extern "C"
