// spore optimize FILE: a smaller module, by wasm-opt, and what each step of it saved.

#include <charconv>
#include <chrono>
#include <filesystem>
#include <optional>
#include <vector>

#include "apps/spore/command.h"
#include "apps/spore/progress.h"
#include "spore/base/json.h"
#include "spore/code/helper_compiler.h"
#include "spore/code/optimiser.h"
#include "spore/engine/ticker.h"

namespace spore::cli {
namespace {

using code::OptimiseOptions;
using code::OptimiseStep;

constexpr double kNsInMs = 1e6;

Result<OptimiseOptions> how_of(const Args& args) {
  OptimiseOptions how;
  how.preset = SPORE_TRY(code::parse_preset(args.value_of("--preset").value_or("default")));
  how.dce = !args.has("--no-dce");
  how.fold = !args.has("--no-fold");
  if (const std::optional<std::string_view> size = args.value_of("--max-inline")) {
    uint32_t value = 0;
    const auto [stop, error] = std::from_chars(size->begin(), size->end(), value);
    if (error != std::errc() || stop != size->end() || value > OptimiseOptions::kMaxInlineMax) {
      return Status::invalid_argument("--max-inline '{}' is not a number from 0 to {}", *size,
                                      OptimiseOptions::kMaxInlineMax);
    }
    if (how.preset == code::OptimisePreset::kMinimal) {
      return Status::invalid_argument("--max-inline is for the presets that inline, which minimal does not");
    }
    how.max_inline = value;
  }
  return how;
}

// "shop.opt.wasm" of "shop.wasm", beside it.
Result<std::filesystem::path> out_of(const Args& args, std::string_view file) {
  const std::filesystem::path in(file);
  std::filesystem::path out(args.value_of("-o").value_or(""));
  if (out.empty()) out = std::filesystem::path(in).replace_extension("opt.wasm");
  std::error_code none;  // of a new file: then it is no other
  if (in != out && !std::filesystem::equivalent(in, out, none)) return out;
  return Status::invalid_argument("{} would be written over: -o OUT names another file", file);
}

// How much native code there is of modules, by the optimised tier.
class NativeMeter {
 public:
  // Who compiles is who would compile it to run it.
  static Result<NativeMeter> create(const runtime::RuntimeOptions& options) {
    NativeMeter meter;
    meter.engine_ = SPORE_TRY(engine::Engine::create({.tier = engine::Tier::kOptimised,
                                                      .fuel = options.fuel,
                                                      .wasm_stack_bytes = options.wasm_stack_bytes,
                                                      .parallel_compile = options.parallel_compile,
                                                      .compact_memories = options.compact_memories,
                                                      .compact_code = options.compact_code},
                                                     std::make_shared<engine::Ticker>()));
    if (options.compile_in == runtime::CompileIn::kProcess) {
      meter.compiler_ = std::make_unique<code::InProcessCompiler>(options.compile.limits);
    } else {
      meter.compiler_ = SPORE_TRY(code::HelperCompiler::create(options.compile));
    }
    return meter;
  }

  Result<uint64_t> bytes_of(std::span<const uint8_t> wasm) const {
    const code::Compiled compiled =
        SPORE_TRY(compiler_->compile(*engine_, {.wasm = wasm, .hash = sha256(wasm)}, {}));
    const std::vector<uint8_t> native = SPORE_TRY(compiled.code->native());
    return native.size();
  }

 private:
  std::shared_ptr<const engine::Engine> engine_;
  std::unique_ptr<code::Compiler> compiler_;
};

struct Row {
  OptimiseStep step;
  std::optional<uint64_t> native_bytes;
};

struct Report {
  std::string_view file;
  std::filesystem::path out;
  OptimiseOptions how;
  std::vector<Row> rows;  // the first is what there was before
};

std::string percent(uint64_t before, uint64_t after) {
  if (before == 0) return "0.0 %";
  const double change = (static_cast<double>(after) / static_cast<double>(before) - 1) * 100;
  return fmt::format("{:+.1f} %", change == 0 ? 0.0 : change);
}

// "-123"; "0" of nothing.
std::string change(uint64_t before, uint64_t after) {
  const auto bytes = static_cast<int64_t>(after) - static_cast<int64_t>(before);
  return bytes == 0 ? "0" : fmt::format("{:+}", bytes);
}

void print_report(const Report& report) {
  print(fmt::format("{:15}{:>10}{:>12}{:>11}{:>13}{:>11}{:>10}\n", "step", "functions", "wasm", "change",
                    "native", "change", "ms"));
  for (size_t i = 0; i < report.rows.size(); i++) {
    const Row& row = report.rows[i];
    const Row& last = report.rows[i == 0 ? 0 : i - 1];
    const std::string native = row.native_bytes ? std::to_string(*row.native_bytes) : "-";
    const std::string native_change =
        i > 0 && row.native_bytes ? change(*last.native_bytes, *row.native_bytes) : "";
    const std::string wasm_change = i > 0 ? change(last.step.wasm_bytes, row.step.wasm_bytes) : "";
    const std::string ms = i > 0 ? fmt::format("{:.0f}", static_cast<double>(row.step.ns) / kNsInMs) : "";
    std::string line =
        fmt::format("{:15}{:>10}{:>12}{:>11}{:>13}{:>11}{:>10}", row.step.name, row.step.functions,
                    row.step.wasm_bytes, wasm_change, native, native_change, ms);
    line.erase(line.find_last_not_of(' ') + 1);
    print(line + "\n");
  }
  const Row& before = report.rows.front();
  const Row& after = report.rows.back();
  print(fmt::format("{}: {} functions ({}), {} bytes of wasm ({})", report.out.native(), after.step.functions,
                    percent(before.step.functions, after.step.functions), after.step.wasm_bytes,
                    percent(before.step.wasm_bytes, after.step.wasm_bytes)));
  if (after.native_bytes) {
    print(fmt::format(", {} bytes of optimised code ({})", *after.native_bytes,
                      percent(*before.native_bytes, *after.native_bytes)));
  }
  print("\n");
}

void write_sizes(JsonWriter& json, const Row& row) {
  json.field("functions", row.step.functions)
      .field("wasm_bytes", row.step.wasm_bytes)
      .field("code_bytes", row.step.code_bytes);
  row.native_bytes ? json.field("native_bytes", *row.native_bytes) : json.null_field("native_bytes");
}

void print_report_json(const Report& report) {
  JsonWriter json;
  json.begin_object()
      .field("out", report.out.native())
      .field("preset", code::preset_name(report.how.preset))
      .field("dce", report.how.dce)
      .field("fold", report.how.fold);
  report.how.max_inline ? json.field("max_inline", *report.how.max_inline) : json.null_field("max_inline");
  json.begin_object("before");
  write_sizes(json, report.rows.front());
  json.end_object().begin_object("after");
  write_sizes(json, report.rows.back());
  json.end_object().begin_array("steps");
  for (size_t i = 1; i < report.rows.size(); i++) {
    const Row& row = report.rows[i];
    const Row& last = report.rows[i - 1];
    json.begin_object().field("step", row.step.name);
    write_sizes(json, row);
    json.field("wasm_bytes_saved",
               static_cast<int64_t>(last.step.wasm_bytes) - static_cast<int64_t>(row.step.wasm_bytes));
    if (row.native_bytes) {
      json.field("native_bytes_saved",
                 static_cast<int64_t>(*last.native_bytes) - static_cast<int64_t>(*row.native_bytes));
    } else {
      json.null_field("native_bytes_saved");
    }
    json.field("ms", static_cast<double>(row.step.ns) / kNsInMs).end_object();
  }
  json.end_array().end_object();
  print(json.take());
}

// The steps, each measured; what comes out of the last.
Result<std::vector<uint8_t>> optimise(std::span<const uint8_t> wasm, const code::Optimiser& optimiser,
                                      const NativeMeter* meter, Report& report) {
  std::optional<Progress> progress;
  const auto measure = [&](const OptimiseStep& step, std::span<const uint8_t> made) -> Status {
    Row row{.step = step, .native_bytes = std::nullopt};
    if (meter != nullptr) {
      progress.emplace(fmt::format("compiling {}", report.file));
      row.native_bytes = SPORE_TRY(meter->bytes_of(made));
    }
    report.rows.push_back(row);
    progress.emplace(fmt::format("optimising {}", report.file));
    return {};
  };
  const wasm::ModuleFacts facts = SPORE_TRY(wasm::inspect(wasm, optimiser.options().module_bytes_max));
  SPORE_TRY(measure({.name = "before",
                     .functions = facts.functions - facts.functions_imported,
                     .wasm_bytes = facts.module_bytes,
                     .code_bytes = facts.code_bytes,
                     .ns = 0},
                    wasm));
  code::Optimised optimised = SPORE_TRY(optimiser.optimise(wasm, report.how, {}, measure));
  return std::move(optimised.wasm);
}

}  // namespace

Result<int> optimise_module(Args& args) {
  const std::string_view file = SPORE_TRY(args.positional("FILE"));
  SPORE_TRY(args.finish());
  Report report{.file = file, .out = {}, .how = SPORE_TRY(how_of(args)), .rows = {}};
  report.out = SPORE_TRY(out_of(args, file));
  const runtime::RuntimeOptions options = SPORE_TRY(options_of(args));
  const ModuleBytes module_bytes = SPORE_TRY(read_module(file, options.module_bytes_max));
  code::WasmOptOptions wasm_opt = options.rewrite;
  wasm_opt.helper = options.compile.helper;
  const auto optimiser = SPORE_TRY(code::Optimiser::create(std::move(wasm_opt)));
  std::optional<NativeMeter> meter;
  if (!args.has("--no-native")) meter = SPORE_TRY(NativeMeter::create(options));
  Result<std::vector<uint8_t>> made =
      optimise(module_bytes.bytes(), *optimiser, meter ? &*meter : nullptr, report);
  if (!made.ok()) return std::move(made).status().with_context(file);
  SPORE_TRY(write_file(report.out, made.value()));
  args.has("--json") ? print_report_json(report) : print_report(report);
  return kDone;
}

}  // namespace spore::cli
