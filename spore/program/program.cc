#include "spore/program/program.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

#include "spore/base/utf8.h"
#include "spore/program/freezing.h"

namespace spore::program {

using host::Input;
using host::Instance;
using host::Suspension;
using Phase = host::Suspension::Phase;

namespace {

constexpr std::string_view kStart = "_start";

// Some bytes, then the end, or nothing for ever.
class FixedInput final : public Input {
 public:
  FixedInput(std::string bytes, bool ends) : bytes_(std::move(bytes)), ends_(ends) {}

  Read read(std::span<std::byte> into) override {
    const size_t n = std::min(into.size(), bytes_.size() - at_);
    if (n == 0) return {ends_ ? Outcome::kEnd : Outcome::kWait};
    std::memcpy(into.data(), bytes_.data() + at_, n);
    at_ += n;
    return {Outcome::kData, n};
  }
  bool wait(uint64_t /*at_most_ms*/) override { return ends_ || at_ < bytes_.size(); }
  bool copies() const override { return true; }

 private:
  std::string bytes_;
  size_t at_ = 0;
  bool ends_;
};

// --- freezing -------------------------------------------------------------------------------------------

bool exports(const wasm::PreparedModule& prepared, std::string_view name) {
  return std::ranges::any_of(prepared.facts.exports,
                             [&](const auto& exported) { return exported.name == name; });
}

Status check_program(const cell::Blueprint& blueprint) {
  SPORE_TRY(check_holdable(blueprint));
  if (!exports(*blueprint.prepared, kStart)) {
    return Status::invalid_argument(
        "it exports no '_start', so it is a library and reads nothing: freeze it after an export that "
        "initialises it (--init EXPORT)");
  }
  const auto reads = [](const wasm::ModuleFacts::Import& import) {
    return import.module == host::wasi::kModule && (import.name == "fd_read" || import.name == "poll_oneoff");
  };
  if (std::ranges::none_of(blueprint.prepared->facts.imports, reads)) {
    return Status::invalid_argument(
        "it imports neither fd_read nor poll_oneoff, so it never reads its standard input: a program that "
        "answers requests reads them there");
  }
  return {};
}

// Why a program did not come to its first read.
Status never_read(const Suspension& suspension, const Status& status, const host::Wasi& wasi,
                  std::string_view error, const FreezeOptions& options) {
  if (suspension.phase() == Phase::kUnwinding && status.code() == Code::kTrap) {
    return Status::limit_exceeded(
        "its stack is too large to be saved where it waits for input: {} (read requests where less is "
        "called)",
        status.message());
  }
  if ((status.ok() || wasi.exit_code().has_value()) && options.setup.has_value()) {
    return Status::exited("it ended with exit code {} before it waited for requests{}",
                          wasi.exit_code().value_or(0), last_words(error))
        .with_detail(std::string(error));
  }
  if (status.ok() || wasi.exit_code().has_value()) {
    return Status::exited(
        "it ended with exit code {} before it read its standard input{} (what is frozen reads requests from "
        "there, in a loop or all at once)",
        wasi.exit_code().value_or(0), last_words(error));
  }
  if (status.code() == Code::kDeadlineExceeded) {
    return Status::deadline_exceeded(
        "it did not read its standard input within {} ms (deadline_ms={}){} (what is frozen waits for "
        "requests there)",
        options.deadline_ms, options.deadline_ms, last_words(error));
  }
  return with_words(status.copy().with_context("before it read its standard input"), error);
}

// Interpreters write to more pages in a request than other guests in a call.
memory::ResetOptions for_requests(memory::ResetOptions reset, uint64_t growth_bytes_max) {
  constexpr size_t kWriteSetPages = 1024;
  if (reset.write_set_pages_max > 0)
    reset.write_set_pages_max = std::max(reset.write_set_pages_max, kWriteSetPages);
  reset.growth_bytes_max = growth_bytes_max;
  return reset;
}

// --- framing --------------------------------------------------------------------------------------------

Result<std::string> framed(std::string_view text, Framing framing) {
  switch (framing) {
    case Framing::kEndOfInput: return std::string(text);
    case Framing::kLines: {
      if (text.ends_with('\n')) text.remove_suffix(1);
      const size_t line = text.find('\n');
      if (line == std::string_view::npos) return std::string(text) + '\n';
      return Status::invalid_argument(
          "a request is one line here, and this one has another at byte {} (other framings take more: "
          "length, eof)",
          line + 1);
    }
    case Framing::kLength:
    case Framing::kNone: break;
  }
  if (text.size() > std::numeric_limits<uint32_t>::max()) {
    return Status::invalid_argument("a request of {} bytes: its length must fit into four bytes",
                                    text.size());
  }
  const auto length = static_cast<uint32_t>(text.size());
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + std::string(text);
}

// Takes the framing off an answer.  `ended`: the program will write no more.
Status unframe(std::string& output, Framing framing, bool ended) {
  switch (framing) {
    case Framing::kEndOfInput: return {};
    case Framing::kLines:
      if (!ended || output.empty() || output.ends_with('\n')) return {};
      return Status::exited("the program ended in the middle of a line of its answer, after {} bytes",
                            output.size());
    case Framing::kLength:
    case Framing::kNone: break;
  }
  uint32_t length = 0;
  if (ended && output.empty()) return {};
  const size_t has = output.size() - std::min(output.size(), sizeof length);
  if (output.size() >= sizeof length) std::memcpy(&length, output.data(), sizeof length);
  if (output.size() >= sizeof length && has == length) {
    output.erase(0, sizeof length);
    return {};
  }
  if (output.size() < sizeof length) {
    return Status::make(ended ? Code::kExited : Code::kCorruption,
                        "the answer has {} bytes, fewer than the four of its length", output.size());
  }
  return Status::make(ended && has < length ? Code::kExited : Code::kCorruption,
                      "the answer has {} bytes, but announced {}", has, length);
}

}  // namespace

Result<Framing> parse_framing(std::string_view name) {
  for (const Framing framing : {Framing::kLines, Framing::kLength, Framing::kEndOfInput}) {
    if (snapshot::framing_name(framing) == name) return framing;
  }
  return Status::invalid_argument("no framing '{}' (there are: lines, length, eof)", printable(name));
}

// --- making ---------------------------------------------------------------------------------------------

Program::Program(Parts parts, std::shared_ptr<cell::Pool> pool)
    : parts_(std::move(parts)), pool_(std::move(pool)) {}

Program::~Program() {
  if (entry_ == nullptr) return;
  entry_ = nullptr;  // so that the pool lets it go
  pool_->forget(parts_.image->blueprint());
}

Result<std::shared_ptr<const Program>> Program::create(Parts parts, const std::shared_ptr<cell::Pool>& pool) {
  std::shared_ptr<Program> program(new Program(std::move(parts), pool));
  program->entry_ = SPORE_TRY(pool->entry(program->parts_.image, program->parts_.domain));
  return std::shared_ptr<const Program>(std::move(program));
}

Result<Program::Parts> Program::boot(const cell::Blueprint& blueprint, const memory::ResetOptions& reset,
                                     const FreezeOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  Suspension suspension = SPORE_TRY(Suspension::at_first_wait(*blueprint.prepared));
  engine::Limits limits = blueprint.limits;
  limits.deadline_ms = options.deadline_ms;
  Instance instance = SPORE_TRY(cell::instantiate(blueprint, limits));
  host::Wasi& wasi = *instance.wasi();
  std::string setup;
  if (options.setup.has_value()) setup = SPORE_TRY(framed(*options.setup, options.framing));
  wasi.set_input(std::make_shared<FixedInput>(std::move(setup), false));
  wasi.set_suspension(&suspension);
  const auto start = SPORE_TRY(instance.function<void()>(kStart));
  const Status status = start();
  Parts parts{
      .image = nullptr, .suspended = {}, .framing = options.framing, .domain = options.domain, .facts = {}};
  parts.facts.output = wasi.take_output();
  parts.facts.error = wasi.take_error();
  if (!status.ok() || suspension.phase() != Phase::kUnwinding) {
    return never_read(suspension, status, wasi, parts.facts.error, options);
  }
  parts.suspended = SPORE_TRY(suspension.freeze(instance));
  parts.facts.memory_bytes = instance.memory_bytes();
  parts.facts.frames_bytes = parts.suspended.lent.size();
  parts.image = SPORE_TRY(cell::Image::capture(std::make_shared<const cell::Blueprint>(blueprint), instance,
                                               for_requests(reset, options.memory_growth_bytes_max)));
  parts.facts.boot_ns = static_cast<uint64_t>((std::chrono::steady_clock::now() - begin).count());
  return parts;
}

Result<std::shared_ptr<const Program>> Program::freeze(const cell::Blueprint& blueprint,
                                                       const std::shared_ptr<cell::Pool>& pool,
                                                       const FreezeOptions& options) {
  SPORE_TRY(check_program(blueprint).with_context(blueprint.name));
  if (options.framing == Framing::kNone) return Status::invalid_argument("a program needs a framing");
  if (options.framing == Framing::kEndOfInput && options.setup.has_value()) {
    return Status::invalid_argument("a program that reads all of its input in one request takes no setup");
  }
  Result<Parts> parts = boot(blueprint, pool->options().reset, options);
  if (!parts.ok()) return std::move(parts).status().with_context(blueprint.name);
  return create(std::move(parts).value(), pool);
}

Result<std::shared_ptr<const Program>> Program::restore(const snapshot::Contents& contents,
                                                        const cell::Blueprint& blueprint,
                                                        const std::shared_ptr<cell::Pool>& pool,
                                                        const RestoreOptions& options) {
  if (!contents.frames.has_value() || contents.manifest.framing == Framing::kNone) {
    return Status::invalid_argument("{}: this image is of a library, not of a program at its read",
                                    contents.manifest.name);
  }
  SPORE_TRY(check_program(blueprint).with_context(blueprint.name));
  Parts parts{.image = nullptr,
              .suspended = {},
              .framing = contents.manifest.framing,
              .domain = contents.manifest.domain,
              .facts = {}};
  const std::span<const uint8_t> borrowed = contents.frames->borrowed;
  const std::span<const std::byte> lent = std::as_bytes(borrowed);
  parts.suspended = SPORE_TRY(Suspension::names(*blueprint.prepared));
  if (contents.image.memories.size() != 1 ||
      contents.frames->address > std::numeric_limits<uint32_t>::max()) {
    return Status::invalid_argument("{}: this image is of another module", contents.manifest.name);
  }
  parts.suspended.frames_at = static_cast<uint32_t>(contents.frames->address);
  parts.suspended.lent.assign(lent.begin(), lent.end());
  parts.facts.memory_bytes = contents.image.memories.front()->bytes();
  parts.facts.frames_bytes = lent.size();
  cell::Image::Restored restored =
      SPORE_TRY(snapshot::restore(contents, std::make_shared<const cell::Blueprint>(blueprint),
                                  for_requests(pool->options().reset, options.memory_growth_bytes_max)));
  SPORE_TRY(check_files(restored.lost).with_context(blueprint.name));
  parts.image = std::move(restored.image);
  return create(std::move(parts), pool);
}

Result<Digest> Program::save(const std::filesystem::path& path, const Source& source) const {
  const std::span<const std::byte> lent = parts_.suspended.lent;
  snapshot::Frames frames{.address = parts_.suspended.frames_at,
                          .borrowed = std::vector<uint8_t>(lent.size())};
  std::ranges::copy(lent, std::as_writable_bytes(std::span(frames.borrowed)).begin());
  return save_image(*parts_.image, source,
                    {.domain = parts_.domain,
                     .entry = std::string(kStart),
                     .framing = parts_.framing,
                     .frames = std::move(frames)},
                    path);
}

// --- requests -------------------------------------------------------------------------------------------

struct Program::Run {
  cell::Lease lease;
  Suspension suspension;
  Status status;  // of the call
  Answer answer;
};

// From the read on, with `text` as its request.
Result<Program::Run> Program::run(std::string_view text, Suspension suspension,
                                  const RequestOptions& options) const {
  auto input = std::make_shared<FixedInput>(SPORE_TRY(framed(text, parts_.framing)),
                                            parts_.framing == Framing::kEndOfInput);
  Run run{
      .lease = SPORE_TRY(entry_->acquire()), .suspension = std::move(suspension), .status = {}, .answer = {}};
  if (options.deadline_ms.has_value()) SPORE_TRY(run.lease->set_deadline_ms(*options.deadline_ms));
  host::Wasi& wasi = *run.lease->wasi();
  wasi.set_input(std::move(input));
  if (options.output_bytes_max.has_value()) wasi.set_output_bytes_max(*options.output_bytes_max);
  wasi.set_suspension(&run.suspension);
  const auto start = SPORE_TRY(run.lease->function<void()>(kStart));
  run.status = start();
  wasi.set_suspension(nullptr);
  run.answer.output = wasi.take_output();
  run.answer.error = wasi.take_error();
  const Phase phase = run.suspension.phase();
  const bool waits = phase == Phase::kWaiting || (phase == Phase::kUnwinding && run.status.ok());
  if (waits || run.status.ok() || run.status.code() == Code::kExited) {
    if (phase == Phase::kRewinding) {
      return Status::internal("{}: the program did not come back to where it was frozen", entry_->module());
    }
    if (!waits) run.answer.exit_code = wasi.exit_code().value_or(0);
    run.status = unframe(run.answer.output, parts_.framing, !waits);
  }
  if (run.lease->store().refused_growth() && (!run.status.ok() || run.answer.exit_code.value_or(0) != 0)) {
    const uint64_t growth_max = parts_.image->memories().reset.growth_bytes_max;
    run.status = Status::limit_exceeded(
        "the request needs more memory than it may add to the {} bytes of the program "
        "(memory_growth_bytes_max={})",
        parts_.facts.memory_bytes, growth_max);
  }
  if (run.status.ok()) return run;
  return with_words(std::move(run.status).with_context(entry_->module()), run.answer.error);
}

Result<Answer> Program::request(std::string_view text, const RequestOptions& options) const {
  Run run = SPORE_TRY(this->run(text, Suspension::from(parts_.suspended), options));
  return std::move(run.answer);
}

Result<Program::Extended> Program::extend(std::string_view text, const FreezeOptions& options) const {
  const auto begin = std::chrono::steady_clock::now();
  Run run = SPORE_TRY(this->run(text, Suspension::to_next_wait(parts_.suspended),
                                {.deadline_ms = options.deadline_ms, .output_bytes_max = {}}));
  if (run.suspension.phase() != Phase::kUnwinding) {
    return with_words(Status::exited("{}: it ended with exit code {} instead of waiting for another request",
                                     entry_->module(), run.answer.exit_code.value_or(0)),
                      run.answer.error);
  }
  Instance& instance = *run.lease;
  Parts parts{.image = nullptr,
              .suspended = SPORE_TRY(run.suspension.freeze(instance)),
              .framing = parts_.framing,
              .domain = parts_.domain,
              .facts = {.output = run.answer.output,
                        .error = run.answer.error,
                        .boot_ns = 0,
                        .memory_bytes = instance.memory_bytes(),
                        .frames_bytes = 0}};
  parts.facts.frames_bytes = parts.suspended.lent.size();
  const cell::Image& base = *parts_.image;
  parts.image = SPORE_TRY(
      // Its own blueprint: by that the pool tells images apart.
      cell::Image::capture(std::make_shared<const cell::Blueprint>(base.blueprint()), instance,
                           for_requests(base.memories().reset, options.memory_growth_bytes_max), &base));
  parts.facts.boot_ns = static_cast<uint64_t>((std::chrono::steady_clock::now() - begin).count());
  return Extended{.program = SPORE_TRY(create(std::move(parts), pool_)), .answer = std::move(run.answer)};
}

}  // namespace spore::program
