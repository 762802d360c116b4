#include "spore/project/build.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <system_error>
#include <utility>

#include "spore/base/fd.h"
#include "spore/base/utf8.h"
#include "spore/host/canonical.h"
#include "spore/project/command.h"
#include "spore/project/create.h"
#include "spore/wasm/inspect.h"

namespace spore::project {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kApt = "apt-get install --no-install-recommends";

bool there(const fs::path& path) {
  std::error_code ignored;  // then it is not there, as far as we are concerned
  return fs::exists(path, ignored);
}

Status missing(std::string_view what, std::string_view language, std::string_view packages) {
  return Status::not_found("{} is missing, which projects in {} need: {} {}", what, language, kApt, packages);
}

Result<std::string> read_text(const fs::path& path) {
  const std::vector<uint8_t> bytes = SPORE_TRY(read_file(path, wasm::kWitTextBytesMax));
  return std::string(bytes.begin(), bytes.end());
}

// The files of a folder with that ending, by name.
std::vector<std::string> files_with(const fs::path& folder, std::string_view ending) {
  std::vector<std::string> names;
  std::error_code ignored;  // then there are none
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().native();
    if (name.ends_with(ending)) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

// --- languages ------------------------------------------------------------------------------------------

// What is given for a name in a line of a TOML file: name = "value".
std::string toml_text(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key =
        line.substr(0, line.find_last_not_of(" \t", equals == 0 ? 0 : equals - 1) + 1);
    const size_t begin = line.find('"', equals);
    const size_t end = begin == std::string_view::npos ? begin : line.find('"', begin + 1);
    if (key == name && end != std::string_view::npos)
      return std::string(line.substr(begin + 1, end - begin - 1));
  }
  return {};
}

constexpr std::string_view kRustTarget = "wasm32-unknown-unknown";

// rustc has a standard library for wasm.
bool has_target(const std::string& rustc) {
  const Result<CommandEnd> end =
      run({.words = {rustc, "--print", "target-libdir", "--target", std::string(kRustTarget)},
           .folder = {},
           .environment = {}});
  if (!end.ok() || end->exit_code != 0) return false;
  const std::string_view folder(end->output);
  return there(fs::path(folder.substr(0, folder.find('\n'))));
}

// Cargo with a library that is there, or Debian's, which has the library's source.
Result<Command> cargo_command(const fs::path& folder) {
  Command command{.words = {"cargo", "build", "--release", "--target", std::string(kRustTarget)},
                  .folder = folder,
                  .environment = {}};
  const std::string rustc = find_program("rustc").native();
  if (!rustc.empty() && !find_program("cargo").empty() && has_target(rustc)) return command;
  constexpr std::string_view kPackages =
      "rustc-web cargo-web rust-web-src lld-19 ca-certificates (or with rustup: rustup target add "
      "wasm32-unknown-unknown)";
  for (const std::string_view file :
       {"/usr/bin/cargo", "/usr/bin/rustc", "/usr/lib/rustlib/src/rust/library/std"}) {
    if (!there(fs::path(file))) return missing(file, "rust", kPackages);
  }
  if (find_program("wasm-ld-19").empty()) return missing("wasm-ld-19", "rust", kPackages);
  command.words[0] = "/usr/bin/cargo";
  command.words.emplace_back("-Zbuild-std=std,panic_abort");
  command.environment = {{"RUSTC", "/usr/bin/rustc"},
                         {"RUSTC_BOOTSTRAP", "1"},
                         {"CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19"}};
  return command;
}

Status build_rust(const Project& project, const fs::path& out) {
  const std::string manifest = SPORE_TRY(read_text(project.folder / "Cargo.toml"));
  const Command command = SPORE_TRY(cargo_command(project.folder));
  SPORE_TRY(run_well(command));
  const char* target = std::getenv("CARGO_TARGET_DIR");
  const fs::path made = project.folder / (target == nullptr || *target == '\0' ? "target" : target) /
                        kRustTarget / "release" / (snake_case(toml_text(manifest, "name")) + ".wasm");
  const std::vector<uint8_t> module = SPORE_TRY(read_file(made, kFileBytesMax));
  return write_file(out, module);
}

Status build_c(const Project& project, const fs::path& out) {
  constexpr std::string_view kPackages = "clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32";
  for (const std::string_view program : {"clang-19", "wasm-ld-19"}) {
    if (find_program(program).empty()) return missing(program, "c", kPackages);
  }
  for (const std::string_view file :
       {"/usr/lib/wasm32-wasi/crt1-reactor.o",
        "/usr/lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a"}) {
    if (!there(fs::path(file))) return missing(file, "c", kPackages);
  }
  Command command{.words = {"clang-19", "--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-Wall",
                            "-Wextra", "-Wl,--strip-debug"},
                  .folder = project.folder,
                  .environment = {}};
  for (const std::string& file : files_with(project.folder, ".c")) command.words.push_back(file);
  command.words.insert(command.words.end(), {"-o", out.native()});
  return run_well(command).status();
}

// "go1.24.3"
bool is_go_enough(std::string_view version) {
  constexpr std::string_view kPrefix = "go1.";
  constexpr int kMinor = 24;  // the first with //go:wasmexport
  if (!version.starts_with(kPrefix)) return false;
  int minor = 0;
  std::from_chars(version.data() + kPrefix.size(), version.data() + version.size(), minor);
  return minor >= kMinor;
}

Status build_go(const Project& project, const fs::path& out) {
  constexpr std::string_view kHow =
      "Debian 12 has none that is: take it from https://go.dev/dl and put it into PATH";
  if (find_program("go").empty()) return Status::not_found("Go 1.24 or newer is missing; {}", kHow);
  const std::string version =
      SPORE_TRY(run_well({.words = {"go", "env", "GOVERSION"}, .folder = project.folder, .environment = {}}));
  if (!is_go_enough(version)) {
    return Status::not_found("Go 1.24 or newer is missing, there is {}; {}",
                             printable(version.substr(0, version.find('\n'))), kHow);
  }
  const Command command{.words = {"go", "build", "-buildmode=c-shared", "-buildvcs=false", "-trimpath",
                                  "-ldflags=-s -w", "-o", out.native(), "."},
                        .folder = project.folder,
                        .environment = {{"GOOS", "wasip1"}, {"GOARCH", "wasm"}}};
  return run_well(command).status();
}

Status build_assemblyscript(const Project& project, const fs::path& out) {
  constexpr std::string_view kPackages = "nodejs npm";
  constexpr const char* kCompiler = "node_modules/assemblyscript/bin/asc.js";
  if (find_program("node").empty()) return missing("node", "assemblyscript", kPackages);
  if (!there(project.folder / kCompiler)) {
    if (find_program("npm").empty()) return missing("npm", "assemblyscript", kPackages);
    SPORE_TRY(run_well(
        {.words = {"npm", "ci", "--no-audit", "--no-fund"}, .folder = project.folder, .environment = {}}));
  }
  Command command{.words = {"node", kCompiler}, .folder = project.folder, .environment = {}};
  for (const std::string& file : files_with(project.folder, ".ts")) {
    if (file != "spore.ts") command.words.push_back(file);
  }
  command.words.insert(command.words.end(), {"-O3", "--runtime", "incremental", "--use",
                                             "abort=", "--transform", "./spore.mjs", "-o", out.native()});
  return run_well(command).status();
}

struct Language {
  std::string_view name;
  std::string_view file;  // that its projects have
  Status (*build)(const Project& project, const fs::path& out);
};

constexpr std::array kLanguages{
    Language{"rust", "Cargo.toml", build_rust},
    Language{"go", "go.mod", build_go},
    Language{"assemblyscript", "package.json", build_assemblyscript},
    Language{"c", "spore.h", build_c},
};

// --- what was made --------------------------------------------------------------------------------------

// As the inspector says it: "func(i32) -> f64".
std::string export_type(const engine::FuncType& type) {
  std::string text = fmt::format("func{}", type.text());
  constexpr std::string_view kNothing = " -> ()";
  if (text.ends_with(kNothing)) text.resize(text.size() - kNothing.size());
  return text;
}

Status check_function(const wasm::ModuleFacts& facts, const wasm::WitExport& function) {
  if (!function.refused.empty()) {
    return Status::unsupported("the function '{}': {}", printable(function.name), function.refused);
  }
  const auto abi = SPORE_TRY(host::WitAbi::create(function.signature));
  const auto is_it = [&](const auto& exported) {
    return exported.name == function.name || exported.name == snake_case(function.name);
  };
  const auto found = std::ranges::find_if(facts.exports, is_it);
  if (found == facts.exports.end()) {
    return Status::invalid_module("'{}' is declared, but not exported", printable(function.name));
  }
  const std::string wanted = export_type(abi->core_type());
  if (found->type == wanted) return {};
  return Status::invalid_module("'{}' is declared as {}, which is {}, but exported as {}",
                                printable(function.name), function.signature.text(), wanted, found->type);
}

// With its signatures in it.
Result<std::vector<uint8_t>> complete(const Project& project, std::vector<uint8_t> module) {
  const std::vector<wasm::WitExport> told = SPORE_TRY(wasm::wit_of_module(module));
  if (!told.empty()) return module;
  const fs::path file = project.folder / kSignatures;
  Result<std::string> text = read_text(file);
  if (text.code() == Code::kNotFound) {
    return Status::not_found("{} is missing, which says what the functions take and give", file.native());
  }
  const std::string signatures = SPORE_TRY(std::move(text));
  return SPORE_TRY(wasm::with_wit(module, signatures));
}

}  // namespace

Result<Project> find_project(const fs::path& folder) {
  std::error_code error;
  Project project{.folder = fs::canonical(folder, error), .name = {}, .language = {}, .module = {}};
  if (error) return Status::from_errno(error.value(), folder.native());
  project.name = kebab_case(project.folder.filename().native());
  project.module = project.folder / (project.name + ".wasm");
  for (const Language& language : kLanguages) {
    // A handler in JavaScript has a package.json, too.
    const bool script = language.name == "assemblyscript" && files_with(project.folder, ".ts").empty();
    if (!there(project.folder / language.file) || script) continue;
    project.language = language.name;
    return project;
  }
  for (const std::string_view handler : {"handler.py", "handler.rb", "handler.js"}) {
    if (!there(project.folder / handler)) continue;
    return Status::unsupported(
        "{} has a handler, which is not built: its README.md says how to test and freeze it",
        folder.native());
  }
  const std::vector<std::string> scripts = files_with(project.folder, ".py");
  if (scripts.size() == 1 && there(project.folder / kSignatures)) {
    project.language = "python";
    project.module = project.folder / scripts.front();
    return project;
  }
  return Status::not_found(
      "{} is no project (it has none of: Cargo.toml, go.mod, package.json with *.ts, spore.h)",
      folder.native());
}

Result<std::vector<wasm::WitExport>> check_module(std::span<const uint8_t> module) {
  const wasm::ModuleFacts facts = SPORE_TRY(wasm::inspect(module, kFileBytesMax));
  std::vector<wasm::WitExport> functions = SPORE_TRY(wasm::wit_of_module(module));
  for (const wasm::WitExport& function : functions) SPORE_TRY(check_function(facts, function));
  return functions;
}

Result<Built> build(const Project& project, const std::function<void(std::string_view)>& progress) {
  const auto language = std::ranges::find(kLanguages, project.language, &Language::name);
  if (language == kLanguages.end()) {
    return Status::unsupported("{}: a file of Python is not built", project.module.filename().native());
  }
  if (progress) progress("compiling");
  // Under another name until all of it was checked.
  const fs::path made = project.folder / fmt::format(".{}.new.wasm", project.name);
  Status status = language->build(project, made);
  Result<std::vector<uint8_t>> raw =
      status.ok() ? read_file(made, kFileBytesMax) : Result<std::vector<uint8_t>>(std::move(status));
  std::error_code ignored;  // it may not be there
  fs::remove(made, ignored);
  std::vector<uint8_t> compiled = SPORE_TRY(std::move(raw));
  if (progress) progress("checking");
  const std::vector<uint8_t> module = SPORE_TRY(complete(project, std::move(compiled)));
  std::vector<wasm::WitExport> functions = SPORE_TRY(check_module(module));
  SPORE_TRY(write_file(project.module, module));
  return Built{.module = project.module, .bytes = module.size(), .functions = std::move(functions)};
}

}  // namespace spore::project
