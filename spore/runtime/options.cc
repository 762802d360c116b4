#include "spore/runtime/options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <optional>
#include <type_traits>

#include "spore/base/edit_distance.h"
#include "spore/base/fd.h"
#include "spore/base/utf8.h"

namespace spore::runtime {
namespace {

const char* environment(const char* name) { return std::getenv(name); }

Result<uint64_t> parse_count(std::string_view text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.begin(), end, value);
  if (error != std::errc() || stop != end || text.empty()) {
    return Status::invalid_argument("'{}' is not a whole number", text);
  }
  return value;
}

// For counts that are small by nature.
Result<uint32_t> parse_small(std::string_view text) {
  constexpr uint64_t kMax = 1000;
  const uint64_t count = SPORE_TRY(parse_count(text));
  if (count > kMax) return Status::invalid_argument("{} is more than {}", count, kMax);
  return static_cast<uint32_t>(count);
}

Result<uint32_t> parse_instances(std::string_view text) {
  constexpr uint64_t kMax = 1'000'000;
  const uint64_t count = SPORE_TRY(parse_count(text));
  if (count > kMax) return Status::invalid_argument("{} is more than {}", count, kMax);
  return static_cast<uint32_t>(count);
}

Result<memory::FaultCounterKind> parse_fault_counter(std::string_view text) {
  using enum memory::FaultCounterKind;
  for (const memory::FaultCounterKind kind : {kAuto, kMapped, kSystemCall, kNone}) {
    if (memory::fault_counter_name(kind) == text) return kind;
  }
  return Status::invalid_argument("'{}' is none of auto, mapped, system_call, none", text);
}

Result<bool> parse_switch(std::string_view text) {
  if (text == "on" || text == "true" || text == "1") return true;
  if (text == "off" || text == "false" || text == "0") return false;
  return Status::invalid_argument("'{}' is neither on nor off", text);
}

std::string switch_text(bool value) { return value ? "on" : "off"; }

Result<uint64_t> parse_deadline(std::string_view text) {
  if (text == "none") return engine::kDeadlineMsMax;
  return parse_count(text);
}

Result<uint32_t> parse_percent(std::string_view text) {
  const uint64_t percent = SPORE_TRY(parse_count(text));
  if (percent > 100) return Status::invalid_argument("'{}' is more than 100 percent", text);
  return static_cast<uint32_t>(percent);
}

Result<uint64_t> parse_count_or_none(std::string_view text) {
  if (text == "none") return std::numeric_limits<uint64_t>::max();
  return parse_count(text);
}

Result<uint64_t> parse_bytes_or_none(std::string_view text) {
  if (text == "none") return std::numeric_limits<uint64_t>::max();
  return parse_bytes(text);
}

// A field of RuntimeOptions or of its Limits.
template <typename T>
T& field_of(RuntimeOptions& options, T RuntimeOptions::* field) {
  return options.*field;
}
template <typename T>
T& field_of(RuntimeOptions& options, T engine::Limits::* field) {
  return options.limits.*field;
}
template <typename T>
T& field_of(RuntimeOptions& options, T cell::PoolOptions::* field) {
  return options.pool.*field;
}
template <typename T>
T& field_of(RuntimeOptions& options, T cell::CellsOptions::* field) {
  return options.cells.*field;
}
template <typename T>
T& field_of(RuntimeOptions& options, T code::StepRule::* field) {
  return options.tier_up.*field;
}
template <typename T>
T& field_of(RuntimeOptions& options, T code::CompileLimits::* field) {
  return options.compile.limits.*field;
}
template <typename T>
T& field_of(RuntimeOptions& options, T code::CompileBudget::* field) {
  return options.compile.budget.*field;
}
template <typename T>
T& field_of(RuntimeOptions& options, T code::HelperOptions::* field) {
  return options.compile.*field;
}
template <typename T>
T& field_of(RuntimeOptions& options, T code::RewriterOptions::* field) {
  return options.rewrite.*field;
}
template <typename T>
T& field_of(RuntimeOptions& options, T code::CodeCacheOptions::* field) {
  return options.code_cache.*field;
}
template <typename T>
T& field_of(RuntimeOptions& options, T memory::ResetOptions::* field) {
  return options.pool.reset.*field;
}

// An option that sets one field, by a parser for its kind of value.
template <auto kField, auto kParse>
constexpr OptionDescription option(std::string_view name, std::string_view help) {
  return {name, help,
          [](RuntimeOptions& options, std::string_view value) -> Status {
            field_of(options, kField) = SPORE_TRY(kParse(value));
            return {};
          },
          [](const RuntimeOptions& options) {
            RuntimeOptions copy = options;  // printing options is no hot path
            const auto value = field_of(copy, kField);
            if constexpr (std::is_same_v<decltype(value), const bool>) {
              return switch_text(value);
            } else {
              return std::to_string(value);
            }
          }};
}

// One field of a rule of the ladder.
template <auto kRule, auto kField>
constexpr OptionDescription rule_option(std::string_view name, std::string_view help) {
  return {name, help,
          [](RuntimeOptions& options, std::string_view value) -> Status {
            options.*kRule.*kField = SPORE_TRY(parse_count(value));
            return {};
          },
          [](const RuntimeOptions& options) { return std::to_string(options.*kRule.*kField); }};
}

using cell::CellsOptions;
using cell::PoolOptions;
using code::CompileBudget;
using code::CompileLimits;
using code::HelperOptions;
using code::StepRule;
using engine::Limits;
using memory::ResetOptions;

constexpr std::array kDescriptions{
    OptionDescription{"tier",
                      "code of modules: auto (what is there soonest, then better), or always interpreter, "
                      "baseline, optimised, "
                      "peak",
                      [](RuntimeOptions& options, std::string_view value) -> Status {
                        options.tier = engine::tier_of_name(value);
                        if (options.tier || value == "auto") return {};
                        return Status::invalid_argument(
                            "'{}' is none of auto, interpreter, baseline, optimised, peak", value);
                      },
                      [](const RuntimeOptions& options) {
                        return std::string(options.tier ? engine::tier_name(*options.tier) : "auto");
                      }},
    option<&RuntimeOptions::interpret, parse_switch>(
        "interpret", "modules may begin in the interpreter, while they are compiled"),
    option<&RuntimeOptions::interpret_bytes_min, parse_bytes>(
        "interpret_bytes_min", "bytes of code that a module has at least to begin there"),
    option<&RuntimeOptions::drop_after_ms, parse_count>(
        "drop_after_ms",
        "milliseconds without a call until what the interpreter translated of a module is dropped; 0: never"),
    rule_option<&RuntimeOptions::compile_after, &StepRule::calls>(
        "compile_after_calls", "calls of an interpreted module until it is compiled"),
    rule_option<&RuntimeOptions::compile_after, &StepRule::delay_ms>(
        "compile_after_delay_ms", "milliseconds that a module is interpreted, however often it is called"),
    rule_option<&RuntimeOptions::compile_after, &StepRule::guest_ms>(
        "compile_after_guest_ms", "milliseconds in an interpreted module's calls until it is compiled"),
    option<&StepRule::calls, parse_count>("tier_up_calls",
                                          "calls of a module until it deserves optimised code"),
    option<&StepRule::delay_ms, parse_count>(
        "tier_up_delay_ms", "milliseconds that a module stays in a tier, however often it is called"),
    option<&StepRule::guest_ms, parse_count>(
        "tier_up_guest_ms", "milliseconds in a module's calls until it deserves optimised code"),
    option<&RuntimeOptions::profiles, parse_switch>(
        "profiles", "a module comes at once to the tier that it reached before, where its image says so"),
    OptionDescription{
        "peak",
        "the tier above the optimised one: off, manual (by warm_up), auto (kept if it measures faster)",
        [](RuntimeOptions& options, std::string_view value) -> Status {
          for (const Peak peak : {Peak::kOff, Peak::kManual, Peak::kAuto}) {
            if (value != peak_name(peak)) continue;
            options.peak = peak;
            return {};
          }
          return Status::invalid_argument("'{}' is neither off nor manual nor auto", value);
        },
        [](const RuntimeOptions& options) { return std::string(peak_name(options.peak)); }},
    option<&RuntimeOptions::peak_gain_percent, parse_percent>(
        "peak_gain_percent", "by how much calls must be quicker in the peak tier for it to be kept"),
    rule_option<&RuntimeOptions::peak_after, &StepRule::calls>(
        "peak_after_calls", "calls of an optimised module until the peak is tried"),
    rule_option<&RuntimeOptions::peak_after, &StepRule::delay_ms>(
        "peak_after_delay_ms", "milliseconds before that, however often it is called"),
    rule_option<&RuntimeOptions::peak_after, &StepRule::guest_ms>(
        "peak_after_guest_ms", "milliseconds in an optimised module's calls until the peak is tried"),
    option<&RuntimeOptions::compile_queue_max, parse_count>(
        "compile_queue_max", "modules that wait to be compiled in the background"),
    OptionDescription{
        "compiler", "where modules are compiled: process, helper, helper_or_process",
        [](RuntimeOptions& options, std::string_view value) -> Status {
          for (const CompileIn where :
               {CompileIn::kProcess, CompileIn::kHelper, CompileIn::kHelperOrProcess}) {
            if (value != compile_in_name(where)) continue;
            options.compile_in = where;
            return {};
          }
          return Status::invalid_argument("'{}' is none of process, helper, helper_or_process", value);
        },
        [](const RuntimeOptions& options) { return std::string(compile_in_name(options.compile_in)); }},
    OptionDescription{"compile_helper", "the helper's program; auto: spore-compile beside this one",
                      [](RuntimeOptions& options, std::string_view value) -> Status {
                        if (value != "auto" && !value.starts_with('/')) {
                          return Status::invalid_argument("'{}' is neither auto nor an absolute path", value);
                        }
                        options.compile.helper = value == "auto" ? "" : value;
                        return {};
                      },
                      [](const RuntimeOptions& options) {
                        return options.compile.helper.empty() ? "auto" : options.compile.helper.native();
                      }},
    option<&CompileBudget::memory_bytes_max, parse_bytes>("compile_memory_bytes_max",
                                                          "address space of the helper"),
    option<&CompileBudget::cpu_s, parse_count>("compile_cpu_s", "processor seconds of the helper, and"),
    option<&CompileBudget::cpu_s_per_mib, parse_count>("compile_cpu_s_per_mib",
                                                       "so many more for each MiB of code"),
    OptionDescription{
        "compile_wall_ms", "milliseconds that one compile by the helper may take",
        [](RuntimeOptions& options, std::string_view value) -> Status {
          const uint64_t ms = SPORE_TRY(parse_count(value));
          constexpr uint64_t kMsMax = uint64_t{1} << 40;
          if (ms == 0 || ms > kMsMax) {
            return Status::invalid_argument("'{}' is not a number of milliseconds from 1 to {}", value,
                                            kMsMax);
          }
          options.compile.wall_max = std::chrono::milliseconds(ms);
          return {};
        },
        [](const RuntimeOptions& options) { return std::to_string(options.compile.wall_max.count()); }},
    option<&CompileBudget::native_bytes_max, parse_bytes>("compile_native_bytes_max",
                                                          "bytes of native code that the helper may make"),
    option<&HelperOptions::threads, parse_small>(
        "compile_threads", "threads of the helper for modules from 1 MiB on; 0: one for each processor"),
    option<&CompileLimits::functions_max, parse_count>("compile_functions_max",
                                                       "functions that a module may have"),
    option<&CompileLimits::body_bytes_max, parse_count>("compile_body_bytes_max",
                                                        "bytes of one function's code"),
    option<&CompileLimits::locals_max, parse_count>("compile_locals_max", "locals of one function"),
    option<&CompileLimits::locals_bytes_max, parse_count>(
        "compile_locals_bytes_max", "bytes of all functions' locals: 16 a v128, 8 any other"),
    option<&CompileLimits::initialisers_max, parse_count>(
        "compile_initialisers_max", "segments and globals that a module may initialise by code"),
    option<&CompileLimits::nesting_max, parse_count>("compile_nesting_max", "blocks in one another"),
    option<&CompileLimits::br_table_targets_max, parse_count>(
        "compile_br_table_targets_max", "targets of the br_table instructions of one function"),
    option<&CompileLimits::values_max, parse_count>(
        "compile_values_max", "values that calls and blocks of one function take and give"),
    option<&CompileLimits::values_total_max, parse_count>("compile_values_total_max",
                                                          "the same of all functions"),
    OptionDescription{"rewrite_wasm_opt", "Binaryen's wasm-opt, version 108; auto: /usr/bin/wasm-opt",
                      [](RuntimeOptions& options, std::string_view value) -> Status {
                        if (value != "auto" && !value.starts_with('/')) {
                          return Status::invalid_argument("'{}' is neither auto nor an absolute path", value);
                        }
                        options.rewrite.wasm_opt = value == "auto" ? "" : value;
                        return {};
                      },
                      [](const RuntimeOptions& options) {
                        return options.rewrite.wasm_opt.empty() ? "auto" : options.rewrite.wasm_opt.native();
                      }},
    option<&code::RewriterOptions::cpu_s, parse_count>(
        "rewrite_cpu_s",
        "processor seconds of rewriting a program to be frozen, or of each step of optimising"),
    option<&code::RewriterOptions::memory_bytes_max, parse_bytes>("rewrite_memory_bytes_max",
                                                                  "address space of that"),
    option<&RuntimeOptions::keep_code, parse_switch>("code_cache",
                                                     "keep compiled code on disk, under the data directory"),
    option<&code::CodeCacheOptions::bytes_max, parse_bytes>("code_cache_bytes_max",
                                                            "bytes of all code that is kept; 0: no limit"),
    OptionDescription{"code_cache_eviction", "what goes first when that is full: lru, lfu, ttl, adaptive",
                      [](RuntimeOptions& options, std::string_view value) -> Status {
                        options.code_cache.eviction = SPORE_TRY(code::parse_eviction(value));
                        return {};
                      },
                      [](const RuntimeOptions& options) {
                        return std::string(code::eviction_name(options.code_cache.eviction));
                      }},
    option<&code::CodeCacheOptions::ttl_s, parse_count>("code_cache_ttl_s",
                                                        "seconds that code is kept, where eviction is ttl"),
    option<&Limits::deadline_ms, parse_deadline>("deadline_ms",
                                                 "milliseconds that one call may take, or none"),
    OptionDescription{"fuel_max", "instructions, roughly, that one call may take; switches counting on",
                      [](RuntimeOptions& options, std::string_view value) -> Status {
                        options.limits.fuel_max = SPORE_TRY(parse_count(value));
                        options.fuel = options.limits.fuel_max != 0;
                        return {};
                      },
                      [](const RuntimeOptions& options) { return std::to_string(options.limits.fuel_max); }},
    option<&Limits::memory_bytes_max, parse_bytes>("memory_bytes_max", "bytes of each linear memory"),
    option<&Limits::table_elements_max, parse_count>("table_elements_max", "elements of each table"),
    option<&Limits::memories_max, parse_small>("memories_max",
                                               "linear memories of an instance and those linked to it"),
    option<&Limits::tables_max, parse_small>("tables_max", "tables of an instance and those linked to it"),
    option<&Limits::nesting_max, parse_small>(
        "nesting_max", "calls host -> guest -> host -> guest that may be open at once"),
    option<&Limits::copy_bytes_max, parse_bytes>("copy_bytes_max",
                                                 "bytes that host functions copy in one call"),
    option<&Limits::log_bytes_max, parse_bytes>("log_bytes_max", "bytes that one call may log"),
    option<&Limits::io_bytes_max, parse_bytes_or_none>(
        "io_bytes_max", "bytes that one call may read and write through WASI, or none"),
    option<&Limits::host_calls_max, parse_count_or_none>(
        "host_calls_max", "calls of host functions that one call may make, or none"),
    option<&Limits::open_files_max, parse_small>("open_files_max",
                                                 "files and directories that an instance has open"),
    option<&RuntimeOptions::wasm_stack_bytes, parse_bytes>(
        "wasm_stack_bytes", "stack of guest calls; the calling thread must have more"),
    option<&RuntimeOptions::module_bytes_max, parse_bytes>("module_bytes_max", "size of a module's file"),
    option<&RuntimeOptions::modules_max, parse_count>("modules_max", "modules loaded at once"),
    option<&RuntimeOptions::parallel_compile, parse_switch>(
        "parallel_compile", "threads inside one compile; not where the process forks later"),
    option<&RuntimeOptions::compact_memories, parse_switch>(
        "compact_memories", "reserve what memories may grow to, not 4 GiB each; code checks bounds"),
    option<&RuntimeOptions::compact_code, parse_switch>("compact_code",
                                                        "optimise for size, too, not for speed alone"),
    option<&RuntimeOptions::slots_kept_max, parse_count>(
        "slots_kept_max", "unused memories that are kept, cleared, for the next"),
    OptionDescription{"pool", "limits of the pool at once: default, embedded, server or interactive",
                      [](RuntimeOptions& options, std::string_view value) -> Status {
                        const PoolOptions preset = SPORE_TRY(cell::pool_preset(value));
                        options.pool.instances_per_module_max = preset.instances_per_module_max;
                        options.pool.instances_max = preset.instances_max;
                        options.pool.idle_expiry_ms = preset.idle_expiry_ms;
                        options.pool.warm_up = preset.warm_up;
                        options.pool.preset = preset.preset;
                        return {};
                      },
                      [](const RuntimeOptions& options) { return std::string(options.pool.preset); }},
    option<&PoolOptions::instances_per_module_max, parse_instances>(
        "instances_per_module_max", "pooled instances of a module in a trust domain"),
    option<&PoolOptions::instances_max, parse_instances>("instances_max", "pooled instances in all"),
    option<&PoolOptions::instances_per_domain_max, parse_instances>(
        "instances_per_domain_max", "pooled instances of a trust domain; 0: no limit"),
    option<&PoolOptions::bytes_per_domain_max, parse_bytes>(
        "bytes_per_domain_max", "memory that is a trust domain's instances' own; 0: no limit"),
    option<&PoolOptions::idle_expiry_ms, parse_count>("idle_expiry_ms",
                                                      "milliseconds until an unused instance goes"),
    option<&PoolOptions::warm_up, parse_instances>("warm_up", "instances made when a module is first used"),
    option<&PoolOptions::wait_timeout_ms, parse_count>("wait_timeout_ms",
                                                       "milliseconds to wait for an instance to come free"),
    option<&PoolOptions::invocations_max, parse_count>(
        "invocations_max", "uses of an instance until it is retired; 0: no limit"),
    option<&PoolOptions::retire_on_trap, parse_switch>("retire_on_trap",
                                                       "throw an instance away that trapped; else reset it"),
    option<&PoolOptions::queue_max, parse_instances>("queue_max", "submitted calls that did not begin yet"),
    option<&PoolOptions::housekeeping, parse_switch>("housekeeping",
                                                     "a thread that lets unused instances go"),
    option<&ResetOptions::write_set_pages_max, parse_count>(
        "write_set_pages_max", "pages of a memory that are refilled at a reset; if more, all are dropped"),
    OptionDescription{"fault_counter",
                      "how a reset knows that no page was written: auto, mapped, system_call, none",
                      [](RuntimeOptions& options, std::string_view value) -> Status {
                        options.pool.reset.fault_counter = SPORE_TRY(parse_fault_counter(value));
                        return {};
                      },
                      [](const RuntimeOptions& options) {
                        return std::string(memory::fault_counter_name(options.pool.reset.fault_counter));
                      }},
    option<&CellsOptions::cells_max, parse_count>("cells_max", "cells, asleep or awake"),
    option<&CellsOptions::awake_max, parse_instances>("cells_awake_max",
                                                      "cells that keep their instance between calls"),
    option<&CellsOptions::awake_bytes_max, parse_bytes>("cells_awake_bytes_max",
                                                        "memory that is these cells' own"),
    option<&CellsOptions::available_bytes_min, parse_bytes>(
        "cells_available_bytes_min", "free memory of the machine below which cells sleep; 0: never for that"),
    option<&CellsOptions::idle_sleep_ms, parse_count>(
        "cell_idle_sleep_ms", "milliseconds until an unused cell sleeps; 0: at the end of its call"),
    option<&CellsOptions::queue_max, parse_instances>("cell_queue_max", "calls that wait for one cell"),
    option<&CellsOptions::queue_timeout_ms, parse_count>("cell_queue_timeout_ms",
                                                         "milliseconds that a call waits for its cell"),
    option<&CellsOptions::delta_bytes_max, parse_bytes>("cell_delta_bytes_max",
                                                        "what a cell may differ by from its image"),
    OptionDescription{
        "cell_commit", "when a call's effects are the cell's: every_call or on_sleep",
        [](RuntimeOptions& options, std::string_view value) -> Status {
          for (const auto commit : {cell::Commit::kEveryCall, cell::Commit::kOnSleep}) {
            if (cell::commit_name(commit) != value) continue;
            options.cells.commit = commit;
            return {};
          }
          return Status::invalid_argument("'{}' is neither every_call nor on_sleep", value);
        },
        [](const RuntimeOptions& options) { return std::string(cell::commit_name(options.cells.commit)); }},
    option<&RuntimeOptions::metrics, parse_switch>("metrics", "time compiles and instantiations"),
};

// What a person may have meant: a name a letter off, one that holds the word, or one a few letters off; or
// nothing.
std::string_view nearest_option(std::string_view name) {
  constexpr size_t kHoldsMin = 4;
  constexpr size_t kTypo = 1;
  constexpr size_t kDistanceMax = 4;
  const auto nearest = std::ranges::min_element(
      kDescriptions, {}, [&](const OptionDescription& other) { return edit_distance(name, other.name); });
  if (edit_distance(name, nearest->name) <= kTypo) return nearest->name;
  const auto holding = std::ranges::find_if(kDescriptions, [&](const OptionDescription& other) {
    return name.size() >= kHoldsMin && other.name.find(name) != std::string_view::npos;
  });
  if (holding != kDescriptions.end()) return holding->name;
  return edit_distance(name, nearest->name) <= kDistanceMax ? nearest->name : std::string_view();
}

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace

std::string_view peak_name(Peak peak) {
  switch (peak) {
    case Peak::kOff: return "off";
    case Peak::kManual: return "manual";
    case Peak::kAuto: return "auto";
  }
  return "";
}

std::string_view compile_in_name(CompileIn where) {
  switch (where) {
    case CompileIn::kProcess: return "process";
    case CompileIn::kHelper: return "helper";
    case CompileIn::kHelperOrProcess: return "helper_or_process";
  }
  return "";
}

std::span<const OptionDescription> option_descriptions() { return kDescriptions; }

std::string flag_name(const OptionDescription& option) {
  std::string name = "--" + std::string(option.name);
  std::ranges::replace(name, '_', '-');
  return name;
}

std::string environment_name(const OptionDescription& option) {
  std::string name = "SPORE_" + std::string(option.name);
  // Not toupper(): it asks the locale.
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return name;
}

Status set_option(RuntimeOptions& options, std::string_view name, std::string_view value) {
  const auto found = std::ranges::find(kDescriptions, name, &OptionDescription::name);
  if (found != kDescriptions.end()) return found->set(options, value).with_context(name);
  const std::string_view nearest = nearest_option(name);
  if (nearest.empty()) return Status::invalid_argument("there is no option '{}'", printable(name));
  return Status::invalid_argument("there is no option '{}' (did you mean '{}'?)", printable(name), nearest);
}

Result<uint64_t> parse_bytes(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, uint64_t>, 4> kUnits{
      {{"KiB", uint64_t{1} << 10}, {"MiB", uint64_t{1} << 20}, {"GiB", uint64_t{1} << 30}, {"", 1}}};
  for (const auto& [unit, factor] : kUnits) {
    if (!text.ends_with(unit)) continue;
    const std::string_view digits = trim(text.substr(0, text.size() - unit.size()));
    Result<uint64_t> count = parse_count(digits);
    if (!count.ok()) break;
    if (count.value() > UINT64_MAX / factor) break;
    return count.value() * factor;
  }
  return Status::invalid_argument("'{}' is not a size (1000, 64KiB, 256MiB, 4GiB)", text);
}

Status apply_options_text(RuntimeOptions& options, std::string_view text, std::string_view file_name) {
  size_t number = 0;
  while (!text.empty()) {
    number++;
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    line = trim(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) {
      return Status::invalid_argument("{}:{}: '{}' is not 'name = value'", file_name, number, line);
    }
    Status status = set_option(options, trim(line.substr(0, equals)), trim(line.substr(equals + 1)));
    if (!status.ok()) return std::move(status).with_context(fmt::format("{}:{}", file_name, number));
  }
  return {};
}

Status apply_options_environment(RuntimeOptions& options,
                                 const std::function<const char*(const char*)>& lookup) {
  for (const OptionDescription& option : kDescriptions) {
    const std::string name = environment_name(option);
    const char* value = lookup(name.c_str());
    if (value == nullptr) continue;
    Status status = option.set(options, value);
    if (!status.ok()) return std::move(status).with_context(name);
  }
  return {};
}

Result<std::filesystem::path> home_directory(std::string_view flag,
                                             const std::function<const char*(const char*)>& lookup) {
  const auto set = [&](const char* name) -> std::optional<std::filesystem::path> {
    const char* value = lookup(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return std::filesystem::path(value);
  };
  if (!flag.empty()) return std::filesystem::path(flag);
  if (const auto home = set("SPORE_HOME")) return *home;
  if (const auto data = set("XDG_DATA_HOME")) return *data / "spore";
  if (const auto user = set("HOME")) return *user / ".local" / "share" / "spore";
  return Status::invalid_argument("no data directory: set --home, SPORE_HOME, XDG_DATA_HOME or HOME");
}

Result<std::filesystem::path> default_home() { return home_directory("", environment); }

Result<RuntimeOptions> load_options(const std::filesystem::path& home,
                                    const std::function<const char*(const char*)>& lookup,
                                    RuntimeOptions defaults) {
  constexpr size_t kFileBytesMax = 1 << 20;
  RuntimeOptions options = std::move(defaults);
  const std::filesystem::path file = home / "spore.conf";
  const Result<std::vector<uint8_t>> bytes = read_file(file, kFileBytesMax);
  if (bytes.ok()) {
    const auto& content = bytes.value();
    SPORE_TRY(apply_options_text(options, {reinterpret_cast<const char*>(content.data()), content.size()},
                                 file.native()));
  } else if (bytes.code() != Code::kNotFound) {
    return bytes.status().copy();
  }
  SPORE_TRY(apply_options_environment(options, lookup));
  return options;
}

Result<RuntimeOptions> home_options(const std::filesystem::path& home, RuntimeOptions defaults) {
  return home_options(home, environment, std::move(defaults));
}

Result<RuntimeOptions> home_options(const std::filesystem::path& home,
                                    const std::function<const char*(const char*)>& lookup,
                                    RuntimeOptions defaults) {
  if (home.empty()) {
    SPORE_TRY(apply_options_environment(defaults, lookup));
    return defaults;
  }
  RuntimeOptions options = SPORE_TRY(load_options(home, lookup, std::move(defaults)));
  const code::CodeCacheOptions places = code::code_cache_options(home);
  options.code_cache.directory = places.directory;
  options.code_cache.key_file = places.key_file;
  return options;
}

}  // namespace spore::runtime
