#include "spore/host/wasi.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "spore/base/break_reset.h"
#include "spore/base/utf8.h"
#include "spore/host/wasi_files.h"

namespace spore::host {

using wasi::Errno;
using wasi::FileType;

namespace {

Status check_text(std::string_view what, std::string_view text) {
  if (text.size() > kWasiTextBytesMax) {
    return Status::invalid_argument("{} has {} bytes, at most {} are possible", what, text.size(),
                                    kWasiTextBytesMax);
  }
  if (text.find('\0') == std::string_view::npos) return {};
  return Status::invalid_argument("{} has a zero byte inside: '{}'", what, printable(text));
}

// A saved state knows directories by the guest's names for them.
Status check_directories(const std::vector<WasiDirectory>& directories) {
  if (directories.size() > kWasiDirectoriesMax) {
    return Status::invalid_argument("{} directories, at most {} are possible", directories.size(),
                                    kWasiDirectoriesMax);
  }
  std::set<std::string_view> names;
  for (const WasiDirectory& directory : directories) {
    SPORE_TRY(check_text("a directory", directory.host));
    SPORE_TRY(check_text("a directory", directory.guest));
    if (directory.guest.empty()) {
      return Status::invalid_argument("the directory '{}' has no name for the guest", directory.host);
    }
    if (!names.insert(directory.guest).second) {
      return Status::invalid_argument("two directories are called '{}' for the guest",
                                      printable(directory.guest));
    }
  }
  return {};
}

Status check_options(const WasiOptions& options) {
  for (const std::string& arg : options.args) SPORE_TRY(check_text("an argument", arg));
  for (const std::string& variable : options.env) {
    SPORE_TRY(check_text("a variable", variable));
    if (variable.find('=') == std::string::npos || variable.starts_with('=')) {
      return Status::invalid_argument("the variable '{}' is not NAME=VALUE", printable(variable));
    }
  }
  if (options.args.size() > kWasiTextsMax || options.env.size() > kWasiTextsMax) {
    return Status::invalid_argument("{} arguments and {} variables, at most {} of each are possible",
                                    options.args.size(), options.env.size(), kWasiTextsMax);
  }
  SPORE_TRY(check_directories(options.directories));
  if (options.clock_resolution_ns == 0) return Status::invalid_argument("clock_resolution_ns is 0");
  return {};
}

Result<UniqueFd> open_directory(const std::string& path) {
  UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return Status::from_errno(errno, fmt::format("directory '{}'", path));
  UniqueFd itself;
  if (wasi::open_beneath(directory.get(), ".", O_PATH, 0, itself) == Errno::kNoSys) {
    return Status::unavailable(
        "directory '{}': this kernel, or a filter, has no openat2 (5.6), without which no guest can be kept "
        "inside of it",
        path);
  }
  if (wasi::is_kernel_interface(directory.get())) {
    return Status::invalid_argument(
        "directory '{}': what is there are not files but the kernel's view of this process, which no guest "
        "may have",
        path);
  }
  return directory;
}

Descriptor stream(DescriptorKind kind, wasi::Rights rights) {
  Descriptor descriptor;
  descriptor.kind = kind;
  descriptor.rights_base = rights;
  descriptor.readable = kind == DescriptorKind::kInput;
  descriptor.writable = !descriptor.readable;
  return descriptor;
}

Descriptor preopen(size_t index) {
  Descriptor descriptor;
  descriptor.kind = DescriptorKind::kPreopen;
  descriptor.type = FileType::kDirectory;
  descriptor.directory = static_cast<uint16_t>(index);
  descriptor.rights_base = wasi::kDirectoryRights;
  descriptor.rights_inheriting = wasi::kInheritedRights;
  return descriptor;
}

FileMark mark_of(const struct stat& stat) {
  if (S_ISDIR(stat.st_mode)) return FileMark{};
  const wasi::Filestat facts = wasi::to_filestat(stat);
  return FileMark{.size = facts.size, .modify_ns = facts.modify_ns};
}

// Opens again what a saved descriptor stood for.  Empty, or why that cannot be.
std::string reopen(const WasiConfig& config, const FileMark& mark, Descriptor& descriptor) {
  const size_t index = descriptor.directory;
  if (descriptor.writable && !config.writable(index)) return "the directory is read-only now";
  wasi::Path path;
  if (path.set(descriptor.path) != Errno::kSuccess) return "its path cannot be opened";
  const bool is_directory = descriptor.type == FileType::kDirectory;
  const wasi::OpenRequest request{
      .lookup = wasi::kSymlinkFollow,
      .open = is_directory ? wasi::kOpenDirectory : wasi::OpenFlags{0},
      .read = descriptor.readable || !descriptor.writable,
      .write = descriptor.writable,
  };
  const Errno error = wasi::open_file(config.directory(index), path, request, descriptor.file);
  if (error == Errno::kNoEnt) return "it is gone";
  if (error == Errno::kNotDir && is_directory) return "it is no directory any more";
  if (error != Errno::kSuccess) return fmt::format("it cannot be opened (WASI error {})", int(error));
  struct stat stat{};
  const FileType type = wasi::usable_type(*descriptor.file, config.directory_device(index), stat);
  if (type == FileType::kUnknown) return "it is neither a file nor a directory";
  if (descriptor.type != FileType::kUnknown && type != descriptor.type)
    return "it is another type of file now";
  const FileMark now = mark_of(stat);
  if (now == mark) return {};
  return fmt::format("it has changed: {} bytes then, {} now{}", mark.size, now.size,
                     mark.size == now.size ? ", and a later time" : "");
}

}  // namespace

Result<std::shared_ptr<const WasiConfig>> WasiConfig::create(WasiOptions options) {
  SPORE_TRY(check_options(options));
  std::shared_ptr<WasiConfig> config(new WasiConfig);
  WasiState& initial = config->initial_;
  initial.args = options.args;
  initial.env = options.env;
  initial.descriptors.push_back(stream(DescriptorKind::kInput, wasi::kInputRights));
  initial.descriptors.push_back(stream(DescriptorKind::kOutput, wasi::kOutputRights));
  initial.descriptors.push_back(stream(DescriptorKind::kError, wasi::kOutputRights));
  for (const WasiDirectory& directory : options.directories) {
    UniqueFd opened = SPORE_TRY(open_directory(directory.host));
    struct stat stat{};
    if (::fstat(opened.get(), &stat) != 0) return Status::from_errno(errno, directory.host);
    config->directories_.push_back({std::move(opened), stat.st_dev});
    initial.descriptors.push_back(preopen(config->directories_.size() - 1));
  }
  rlimit limit{};
  config->limits_files_ = ::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
  config->options_ = std::move(options);
  return std::shared_ptr<const WasiConfig>(std::move(config));
}

Wasi::Wasi(std::shared_ptr<const WasiConfig> config)
    : config_(std::move(config)),
      state_(config_->initial()),
      output_bytes_max_(config_->options().output_bytes_max) {}

Wasi::~Wasi() = default;

void Wasi::set_input(std::string bytes) {
  used_ = true;
  input_ = nullptr;
  input_bytes_ = std::move(bytes);
  state_.input_position = 0;
}

void Wasi::set_input(std::shared_ptr<Input> input) {
  used_ = true;
  input_ = std::move(input);
}

void Wasi::set_state(const WasiState& state) {
  used_ = true;
  state_ = state;
  readers_.clear();
}

void Wasi::become(const WasiState& state) {
  if (!used_ || kBreakReset == BreakReset::kWasi) return;
  set_state(state);
  input_ = nullptr;
  input_bytes_ = {};
  output_ = {};
  error_ = {};
  output_bytes_max_ = config_->options().output_bytes_max;
  suspension_ = nullptr;
  entropy_ = Entropy::kFresh;
  entropy_bytes_ = 0;
  used_ = false;
}

Result<std::vector<uint8_t>> Wasi::save() const {
  if (state_.descriptors.size() > kWasiDescriptorsMax) {
    return Status::limit_exceeded("a state with {} descriptors, at most {} can be saved",
                                  state_.descriptors.size(), kWasiDescriptorsMax);
  }
  SavedWasi saved{.state = state_};
  for (const WasiDirectory& directory : config_->options().directories) {
    saved.directories.push_back(directory.guest);
  }
  for (const Descriptor& descriptor : state_.descriptors) {
    FileMark& mark = saved.marks.emplace_back();
    if (descriptor.file == nullptr) continue;
    struct stat stat{};
    if (::fstat(descriptor.file->fd.get(), &stat) != 0) return Status::from_errno(errno, "an open file");
    mark = mark_of(stat);
  }
  const bool own_clock = config_->options().clock.has_value();
  saved.monotonic_ns =
      own_clock || state_.clock_ns == 0 ? 0 : wasi::host_clock_ns(CLOCK_MONOTONIC) - state_.clock_ns;
  return encode(saved);
}

Result<std::vector<Wasi::Lost>> Wasi::restore(std::span<const uint8_t> bytes, uint32_t open_files_max) {
  SavedWasi saved = SPORE_TRY(decode_wasi(bytes));
  const auto open = std::ranges::count(saved.state.descriptors, DescriptorKind::kOpened, &Descriptor::kind);
  if (open > open_files_max) {
    return Status::limit_exceeded("the saved state has {} open files (open_files_max={})", open,
                                  open_files_max);
  }
  const std::vector<WasiDirectory>& directories = config_->options().directories;
  std::vector<uint16_t> places;  // where the saved directories are in this config
  for (const std::string& name : saved.directories) {
    const auto found = std::ranges::find(directories, name, &WasiDirectory::guest);
    if (found == directories.end()) {
      return Status::invalid_argument("the saved state has a directory '{}', which is not given here",
                                      printable(name));
    }
    places.push_back(static_cast<uint16_t>(found - directories.begin()));
  }
  std::vector<Lost> lost;
  WasiState& state = saved.state;
  for (size_t i = 0; i < state.descriptors.size(); i++) {
    Descriptor& descriptor = state.descriptors[i];
    if (descriptor.kind >= DescriptorKind::kPreopen) descriptor.directory = places[descriptor.directory];
    if (descriptor.kind != DescriptorKind::kOpened) continue;
    std::string reason = reopen(*config_, saved.marks[i], descriptor);
    if (reason.empty()) continue;
    const std::string& directory = directories[descriptor.directory].guest;
    lost.push_back(
        {static_cast<uint32_t>(i), fmt::format("{}/{}", directory, descriptor.path), std::move(reason)});
    descriptor.kind = DescriptorKind::kLost;
    descriptor.file = nullptr;
  }
  if (!config_->options().clock.has_value() && state.clock_ns != 0) {
    state.clock_ns = wasi::host_clock_ns(CLOCK_MONOTONIC) - saved.monotonic_ns;
  }
  set_state(state);
  return lost;
}

std::optional<uint32_t> exit_code(const Status& status) {
  const auto* info = dynamic_cast<const ExitInfo*>(status.attachment());
  return info == nullptr ? std::nullopt : std::optional(info->code);
}

bool needs_wasi(const engine::CompiledCode& code) {
  return std::ranges::any_of(code.imports(), [](const engine::CompiledCode::Import& import) {
    return import.module == wasi::kModule;
  });
}

}  // namespace spore::host
