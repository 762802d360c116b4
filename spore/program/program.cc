#include "spore/program/program.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

#include "spore/base/elapsed.h"
#include "spore/base/utf8.h"
#include "spore/program/freezing.h"
#include "spore/snapshot/states.h"

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

// As a library, if the options name an initialiser.
Status check_program(const cell::Blueprint& blueprint, const FreezeOptions& options) {
  SPORE_TRY(check_holdable(blueprint));
  const wasm::ModuleFacts& facts = blueprint.prepared->facts;
  SPORE_TRY(check_hook(facts, kRequestExport));
  SPORE_TRY(check_hook(facts, cell::kResumedExport));
  if (!is_started(facts, options) && !wasm::exports_function(facts, kRequestExport)) {
    return Status::invalid_argument(
        "it exports {}, so it is a library and answers no requests: freeze it after an export that "
        "initialises it (--init EXPORT), and call its functions",
        options.init.has_value() ? fmt::format("no '{}'", kRequestExport)
                                 : fmt::format("neither '_start' nor '{}'", kRequestExport));
  }
  const auto reads = [](const wasm::ModuleFacts::Import& import) {
    return import.module == host::wasi::kModule && (import.name == "fd_read" || import.name == "poll_oneoff");
  };
  if (std::ranges::none_of(facts.imports, reads)) {
    return Status::invalid_argument(
        "it imports neither fd_read nor poll_oneoff, so it never reads its standard input: a program that "
        "answers requests reads them there");
  }
  return {};
}

// Why a program did not come to its first read.
Status never_read(const Suspension& suspension, const Status& status, const Answer& said,
                  const FreezeOptions& options) {
  const std::string& error = said.error;
  const bool refused = !suspension.stack().empty() || suspension.stack_unknown();
  if (refused && suspension.phase() == Phase::kRunning) {
    auto info = std::make_shared<WaitInfo>();
    if (!suspension.stack_unknown()) info->functions = suspension.stack();
    return Status::unsupported("{}", status.message()).with_attachment(std::move(info));
  }
  if (suspension.phase() == Phase::kUnwinding && status.code() == Code::kTrap) {
    return Status::limit_exceeded(
        "its stack is too large to be saved where it waits for input: {} (read requests where less is "
        "called)",
        status.message());
  }
  if ((status.ok() || said.exit_code.has_value()) && options.setup.has_value()) {
    return Status::exited("it ended with exit code {} before it waited for requests{}",
                          said.exit_code.value_or(0), last_words(error))
        .with_detail(error);
  }
  if (status.ok() || said.exit_code.has_value()) {
    return Status::exited(
        "it ended with exit code {} before it read its standard input{} (what is frozen reads requests from "
        "there, in a loop or all at once)",
        said.exit_code.value_or(0), last_words(error));
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

bool is_started(const wasm::ModuleFacts& facts, const FreezeOptions& options) {
  return !options.init.has_value() && wasm::exports_function(facts, kStart);
}

Result<Framing> parse_framing(std::string_view name) {
  for (const Framing framing : {Framing::kLines, Framing::kLength, Framing::kEndOfInput}) {
    if (snapshot::framing_name(framing) == name) return framing;
  }
  return Status::invalid_argument("no framing '{}' (there are: lines, length, eof)", printable(name));
}

// --- making ---------------------------------------------------------------------------------------------

Program::Program(Parts parts, std::shared_ptr<cell::Pool> pool)
    : parts_(std::move(parts)),
      before_(parts_.image->blueprint().code->functions()),
      pool_(std::move(pool)) {}

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

Result<Program::Parts> Program::stop(const Suspension* suspension, Instance& instance, const Answer& said,
                                     const cell::Blueprint& blueprint, const memory::ResetOptions& reset,
                                     const cell::Image* base) {
  Parts parts{.image = nullptr, .suspended = {}, .framing = {}, .domain = {}, .facts = {}};
  if (suspension != nullptr) {
    parts.suspended = SPORE_TRY(suspension->freeze(instance));
    parts.facts.frames_bytes = parts.suspended->lent.size();
  }
  parts.facts.output = said.output;
  parts.facts.error = said.error;
  parts.facts.memory_bytes = instance.memory_bytes();
  parts.facts.entropy_bytes = instance.wasi()->entropy_bytes();
  // Its own blueprint: by that the pool tells images apart.
  parts.image = SPORE_TRY(
      cell::Image::capture(std::make_shared<const cell::Blueprint>(blueprint), instance, reset, base));
  return parts;
}

namespace {

// A module that was started, and how that ended.
struct Started {
  Instance instance;
  Status status;
  Answer said;
};

std::string_view init_of(const FreezeOptions& options) {
  return options.init.has_value() ? std::string_view(*options.init) : kDefaultInit;
}

// A program, by `_start`, or, `suspension` null, a library, by its initialiser.
Result<Started> start(const cell::Blueprint& blueprint, const FreezeOptions& options,
                      Suspension* suspension) {
  engine::Limits limits = blueprint.limits;
  limits.deadline_ms = options.deadline_ms;
  Started started{
      .instance = SPORE_TRY(instantiate(blueprint, limits, options.entropy)), .status = {}, .said = {}};
  host::Wasi& wasi = *started.instance.wasi();
  std::string setup;
  if (options.setup.has_value()) setup = SPORE_TRY(framed(*options.setup, options.framing));
  wasi.set_input(std::make_shared<FixedInput>(std::move(setup), suspension == nullptr));
  wasi.set_suspension(suspension);
  const auto function =
      SPORE_TRY(started.instance.function<void()>(suspension == nullptr ? init_of(options) : kStart));
  started.status = function();
  wasi.set_suspension(nullptr);
  started.said = {.output = wasi.take_output(), .error = wasi.take_error(), .exit_code = wasi.exit_code()};
  return started;
}

// Why a library was not initialised.
Status not_initialised(const Started& started, const FreezeOptions& options) {
  if (started.said.exit_code.has_value()) {
    return Status::exited("it ended with exit code {} while it was initialised{}", *started.said.exit_code,
                          last_words(started.said.error))
        .with_detail(started.said.error);
  }
  return with_words(started.status.copy().with_context(fmt::format("'{}'", init_of(options))),
                    started.said.error);
}

}  // namespace

Result<Program::Parts> Program::boot(const cell::Blueprint& blueprint, const memory::ResetOptions& reset,
                                     const FreezeOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  std::optional<Suspension> suspension;
  if (is_started(blueprint.prepared->facts, options)) {
    suspension = SPORE_TRY(Suspension::at_first_wait(*blueprint.prepared, options.functions));
  }
  Suspension* const waits = suspension.has_value() ? &*suspension : nullptr;
  Started started = SPORE_TRY(start(blueprint, options, waits));
  if (waits == nullptr && !started.status.ok()) return not_initialised(started, options);
  if (waits != nullptr && (!started.status.ok() || waits->phase() != Phase::kUnwinding)) {
    return never_read(*waits, started.status, started.said, options);
  }
  Parts parts = SPORE_TRY(stop(waits, started.instance, started.said, blueprint,
                               for_requests(reset, options.memory_growth_bytes_max), nullptr));
  parts.framing = options.framing;
  parts.domain = options.domain;
  parts.facts.boot_ns = ns_since(begin);
  return parts;
}

Result<std::vector<uint32_t>> Program::find_wait(const cell::Blueprint& blueprint,
                                                 const FreezeOptions& options) {
  SPORE_TRY(check_program(blueprint, options));
  Suspension watch = Suspension::watch();
  const Started started = SPORE_TRY(start(blueprint, options, &watch));
  if (watch.phase() == Phase::kWatched) return watch.stack();
  return never_read(watch, started.status, started.said, options);
}

Result<std::shared_ptr<const Program>> Program::freeze(const cell::Blueprint& blueprint,
                                                       const std::shared_ptr<cell::Pool>& pool,
                                                       const FreezeOptions& options) {
  SPORE_TRY(check_program(blueprint, options).with_context(blueprint.name));
  if (options.framing == Framing::kNone) return Status::invalid_argument("a program needs a framing");
  if (options.framing == Framing::kEndOfInput && options.setup.has_value()) {
    return Status::invalid_argument("{}: what reads all of its input in one request takes no setup",
                                    blueprint.name);
  }
  Result<Parts> parts = boot(blueprint, pool->options().reset, options);
  if (!parts.ok()) return std::move(parts).status().with_context(blueprint.name);
  return create(std::move(parts).value(), pool);
}

namespace {

Result<host::Suspended> suspended_in(const snapshot::Contents& contents,
                                     const wasm::PreparedModule& prepared) {
  host::StackFunctions functions;
  if (contents.frames->functions.has_value()) {
    functions = std::make_shared<const std::vector<uint32_t>>(*contents.frames->functions);
  }
  host::Suspended suspended = SPORE_TRY(Suspension::names(prepared, std::move(functions)));
  if (contents.frames->address > std::numeric_limits<uint32_t>::max()) {
    return Status::invalid_argument("its frames are at {}", contents.frames->address);
  }
  const std::span<const uint8_t> borrowed = contents.frames->borrowed;
  const std::span<const std::byte> lent = std::as_bytes(borrowed);
  suspended.frames_at = static_cast<uint32_t>(contents.frames->address);
  suspended.lent.assign(lent.begin(), lent.end());
  return suspended;
}

}  // namespace

Result<std::shared_ptr<const Program>> Program::restore(const snapshot::Contents& contents,
                                                        const cell::Blueprint& blueprint,
                                                        const std::shared_ptr<cell::Pool>& pool,
                                                        const RestoreOptions& options) {
  const snapshot::Manifest& manifest = contents.manifest;
  if (manifest.framing == Framing::kNone) {
    return Status::invalid_argument("{}: this image is of a library that answers no requests", manifest.name);
  }
  FreezeOptions as;
  if (!contents.frames.has_value()) as.init = kDefaultInit;
  SPORE_TRY(check_program(blueprint, as).with_context(blueprint.name));
  if (contents.image.memories.size() != 1) {
    return Status::invalid_argument("{}: this image is of another module", manifest.name);
  }
  Parts parts{.image = nullptr,
              .suspended = {},
              .framing = manifest.framing,
              .domain = manifest.domain,
              .facts = {},
              .file = {},
              .base = contents.base};
  if (!contents.base.has_value()) parts.file = contents.id;
  parts.facts.entropy_bytes = manifest.entropy_bytes;
  parts.facts.memory_bytes = contents.image.memories.front()->bytes();
  if (contents.frames.has_value()) {
    Result<host::Suspended> suspended = suspended_in(contents, *blueprint.prepared);
    if (!suspended.ok()) return std::move(suspended).status().with_context(manifest.name);
    parts.suspended = std::move(suspended).value();
    parts.facts.frames_bytes = parts.suspended->lent.size();
  }
  cell::Image::Restored restored =
      SPORE_TRY(snapshot::restore(contents, std::make_shared<const cell::Blueprint>(blueprint),
                                  for_requests(pool->options().reset, options.memory_growth_bytes_max)));
  SPORE_TRY(check_files(restored.lost).with_context(blueprint.name));
  parts.image = std::move(restored.image);
  return create(std::move(parts), pool);
}

Result<Digest> Program::save(const std::filesystem::path& path, const Source& source,
                             const snapshot::WriteOptions& options) const {
  return save_on({}, path, source, options);
}

Result<Digest> Program::save_derived(const std::filesystem::path& path, const Source& source,
                                     std::string_view base_file,
                                     const snapshot::WriteOptions& options) const {
  if (!parts_.base.has_value()) {
    return Status::invalid_argument("{}: it was not made of a program from a file", entry_->module());
  }
  return save_on(snapshot::Origin::Base{.id = *parts_.base, .file = std::string(base_file)}, path, source,
                 options);
}

Result<Digest> Program::save_on(std::optional<snapshot::Origin::Base> base, const std::filesystem::path& path,
                                const Source& source, const snapshot::WriteOptions& options) const {
  snapshot::Origin origin{.domain = parts_.domain,
                          .entry = std::string(is_library() ? kRequestExport : kStart),
                          .framing = parts_.framing,
                          .entropy_bytes = parts_.facts.entropy_bytes,
                          .frames = {},
                          .profile = code::profile_since(*image().blueprint().code, before_),
                          .hot_set = source.hot_set,
                          .base = std::move(base)};
  if (parts_.suspended.has_value()) {
    const std::span<const std::byte> lent = parts_.suspended->lent;
    origin.frames = snapshot::Frames{.address = parts_.suspended->frames_at,
                                     .borrowed = std::vector<uint8_t>(lent.size())};
    std::ranges::copy(lent, std::as_writable_bytes(std::span(origin.frames->borrowed)).begin());
    if (parts_.suspended->functions != nullptr) origin.frames->functions = *parts_.suspended->functions;
  }
  return save_image(*parts_.image, source, std::move(origin), path, options);
}

// --- requests -------------------------------------------------------------------------------------------

Result<Answer> Program::run(Instance& instance, std::string_view text, Suspension* suspension,
                            const How& how) const {
  const bool library = suspension == nullptr;
  auto input = std::make_shared<FixedInput>(SPORE_TRY(framed(text, parts_.framing)),
                                            library || parts_.framing == Framing::kEndOfInput);
  host::Wasi& wasi = *instance.wasi();
  wasi.set_input(std::move(input));
  if (how.output_bytes_max.has_value()) wasi.set_output_bytes_max(*how.output_bytes_max);
  wasi.set_entropy(how.entropy);
  if (!library) wasi.set_suspension(suspension);
  const auto call = SPORE_TRY(instance.function<void()>(library ? kRequestExport : kStart));
  Status status = call();
  wasi.set_suspension(nullptr);
  Answer answer{.output = wasi.take_output(), .error = wasi.take_error(), .exit_code = {}};
  const Phase phase = library ? Phase::kRunning : suspension->phase();
  const bool waits = phase == Phase::kWaiting || (phase == Phase::kUnwinding && status.ok());
  if (waits || status.ok() || status.code() == Code::kExited) {
    if (phase == Phase::kRewinding) {
      return Status::internal("{}: the program did not come back to where it was frozen", entry_->module());
    }
    const bool answered = waits || (library && status.ok());
    if (!answered) answer.exit_code = wasi.exit_code().value_or(0);
    const bool silent = answer.output.empty() && how.purpose == Purpose::kExtend;  // a setup is not answered
    status = silent ? Status() : unframe(answer.output, parts_.framing, !waits);
  }
  if (instance.store().refused_growth() && (!status.ok() || answer.exit_code.value_or(0) != 0)) {
    const uint64_t growth_max = parts_.image->memories().reset.growth_bytes_max;
    status = Status::limit_exceeded(
        "the request needs more memory than it may add to the {} bytes of the program "
        "(memory_growth_bytes_max={})",
        parts_.facts.memory_bytes, growth_max);
  }
  if (status.ok()) return answer;
  return with_words(std::move(status).with_context(entry_->module()), answer.error);
}

Result<Answer> Program::request(std::string_view text, const RequestOptions& options) const {
  std::optional<Suspension> suspension;
  if (parts_.suspended.has_value()) suspension = Suspension::from(*parts_.suspended);
  const cell::Lease lease = SPORE_TRY(entry_->acquire());
  if (options.deadline_ms.has_value()) SPORE_TRY(lease->set_deadline_ms(*options.deadline_ms));
  lease->store().set_watch(options.watch);
  return run(*lease, text, suspension.has_value() ? &*suspension : nullptr,
             {.output_bytes_max = options.output_bytes_max});
}

namespace {

// Of one memory, as long as it was: what was used, told apart by whether it was written.
void add_runs(std::vector<snapshot::HotRun>& hot, uint32_t memory, uint64_t bytes,
              const std::vector<memory::PageRun>& used, const std::vector<memory::PageRun>& written) {
  constexpr size_t kPage = memory::kPageBytes;
  auto next = written.begin();
  for (const memory::PageRun& run : used) {
    const size_t end = std::min<size_t>(run.offset + run.bytes, bytes);
    for (size_t offset = run.offset; offset < end; offset += kPage) {
      while (next != written.end() && next->offset + next->bytes <= offset) ++next;
      const bool is_written = next != written.end() && next->offset <= offset;
      const uint32_t flags = snapshot::HotRun::kRead | (is_written ? snapshot::HotRun::kWritten : 0);
      if (!hot.empty() && hot.back().memory == memory && hot.back().flags == flags &&
          (hot.back().first + hot.back().pages) * kPage == offset) {
        hot.back().pages++;
      } else {
        hot.push_back({.memory = memory, .flags = flags, .first = offset / kPage, .pages = 1});
      }
    }
  }
}

}  // namespace

Result<std::vector<snapshot::HotRun>> Program::hot_set(std::string_view text) const {
  // Counted for itself: it is none of the requests that a profile tells of.
  cell::Blueprint own = parts_.image->blueprint();
  own.code = std::make_shared<engine::LiveBinding>(own.code->best());
  const auto clean = SPORE_TRY(
      cell::CleanInstance::create(std::make_shared<const cell::Blueprint>(std::move(own)), parts_.image));
  clean->begin(nullptr);
  std::optional<Suspension> suspension;
  if (parts_.suspended.has_value()) suspension = Suspension::from(*parts_.suspended);
  SPORE_TRY(run(clean->instance(), text, suspension.has_value() ? &*suspension : nullptr, {}));
  std::vector<snapshot::HotRun> hot;
  const auto& images = parts_.image->memories().images;
  for (size_t i = 0; i < images.size(); i++) {
    memory::Slot* slot = clean->state().slots()[i];
    std::vector<memory::PageRun> used;
    std::vector<memory::PageRun> written;
    SPORE_TRY(slot->used(used));
    slot->written(written);
    add_runs(hot, static_cast<uint32_t>(i), images[i]->bytes(), used, written);
  }
  return hot;
}

// --- cells ----------------------------------------------------------------------------------------------

namespace {

std::vector<uint8_t> encode_place(const host::Suspended& suspended) {
  const auto* lent = reinterpret_cast<const uint8_t*>(suspended.lent.data());
  return snapshot::encode_place(
      {.address = suspended.frames_at, .borrowed = {lent, lent + suspended.lent.size()}, .functions = {}});
}

// `names`: what of it follows from the module.
Result<host::Suspended> decode_place(const std::vector<uint8_t>& bytes, const host::Suspended& names) {
  const snapshot::Frames frames = SPORE_TRY(snapshot::decode_place(bytes, {}));
  host::Suspended suspended = names;
  suspended.frames_at = static_cast<uint32_t>(frames.address);
  const auto lent = std::as_bytes(std::span(frames.borrowed));
  suspended.lent.assign(lent.begin(), lent.end());
  return suspended;
}

}  // namespace

Result<std::shared_ptr<cell::CellKind>> Program::cell_kind(cell::Cells& cells) const {
  if (parts_.framing == Framing::kEndOfInput && !is_library()) {
    return Status::unsupported("{}: it reads all of its input in one request, so nothing of it goes on",
                               entry_->module());
  }
  return cells.kind(entry_);
}

Result<Answer> Program::request_in(cell::Cells& cells, const cell::CellId& cell, std::string_view text,
                                   const RequestOptions& options) const {
  cell::CellUse use = SPORE_TRY(cells.use(cell, {.deadline_ms = options.deadline_ms}));
  if (use.kind().image() != parts_.image) {
    return Status::invalid_argument("the cell '{}' is none of {}", printable(cell.name), entry_->module());
  }
  // A cell that stays awake keeps its instance, and one that does not is gone when it is committed: this
  // holds for the run alone.
  const auto run_watched = [&](Suspension* suspension, const How& how) {
    engine::Store& store = use.instance().store();
    store.set_watch(options.watch);
    Result<Answer> answer = run(use.instance(), text, suspension, how);
    store.set_watch({});
    return answer;
  };
  const How how{.output_bytes_max = options.output_bytes_max};
  if (is_library()) {
    Answer answer = SPORE_TRY(run_watched(nullptr, how));
    if (!answer.exit_code.has_value()) SPORE_TRY(use.commit());
    return answer;
  }
  host::Suspended from = *parts_.suspended;
  if (use.caller().has_value()) from = SPORE_TRY(decode_place(*use.caller(), from));
  Suspension suspension = Suspension::to_next_wait(from);
  Answer answer = SPORE_TRY(run_watched(&suspension, how));
  if (answer.exit_code.has_value()) return answer;
  if (suspension.phase() != Phase::kUnwinding) {
    return Status::internal("{}: the program waits where it cannot be stopped", entry_->module());
  }
  std::vector<uint8_t> place = encode_place(SPORE_TRY(suspension.freeze(use.instance())));
  use.caller().reset();
  if (place != encode_place(*parts_.suspended)) use.caller() = std::move(place);
  SPORE_TRY(use.commit());
  return answer;
}

// --- one more -------------------------------------------------------------------------------------------

Result<Program::Extended> Program::extend(std::string_view text, const FreezeOptions& options) const {
  const auto begin = std::chrono::steady_clock::now();
  std::optional<Suspension> suspension;
  if (parts_.suspended.has_value()) suspension = Suspension::to_next_wait(*parts_.suspended);
  Suspension* const waits = suspension.has_value() ? &*suspension : nullptr;
  const cell::Lease lease = SPORE_TRY(entry_->acquire());
  SPORE_TRY(lease->set_deadline_ms(options.deadline_ms));
  Answer answer =
      SPORE_TRY(run(*lease, text, waits, {.purpose = Purpose::kExtend, .entropy = options.entropy}));
  if (answer.exit_code.has_value() || (waits != nullptr && waits->phase() != Phase::kUnwinding)) {
    return Status::exited("{}: it ended with exit code {} instead of waiting for another request{}",
                          entry_->module(), answer.exit_code.value_or(0), last_words(answer.error))
        .with_detail(answer.error);
  }
  const cell::Image& base = *parts_.image;
  Parts parts = SPORE_TRY(stop(waits, *lease, answer, base.blueprint(),
                               for_requests(base.memories().reset, options.memory_growth_bytes_max), &base));
  parts.framing = parts_.framing;
  parts.domain = parts_.domain;
  parts.facts.boot_ns = ns_since(begin);
  parts.base = parts_.file;
  parts.facts.entropy_bytes += parts_.facts.entropy_bytes;
  return Extended{.program = SPORE_TRY(create(std::move(parts), pool_)), .answer = std::move(answer)};
}

}  // namespace spore::program
