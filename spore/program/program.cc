#include "spore/program/program.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

#include "spore/base/utf8.h"

namespace spore::program {

using host::Input;
using host::Instance;
using host::Suspension;
using Phase = host::Suspension::Phase;

namespace {

constexpr std::string_view kStart = "_start";

struct FramingName {
  Framing framing;
  std::string_view name;
};
constexpr std::array<FramingName, 3> kFramings{
    {{Framing::kLines, "lines"}, {Framing::kLengths, "length"}, {Framing::kEndOfInput, "eof"}}};

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

 private:
  std::string bytes_;
  size_t at_ = 0;
  bool ends_;
};

// For messages: what a program said last.
std::string last_words(std::string_view text) {
  constexpr size_t kBytesMax = 300;
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  const size_t line = text.rfind('\n');
  if (line != std::string_view::npos) text.remove_prefix(line + 1);
  return text.empty() ? std::string() : fmt::format("; its last words: {}", printable(text, kBytesMax));
}

// The same status with what the program said.
Status with_words(Status status, std::string_view error) {
  std::string words = last_words(error);
  if (words.empty()) return status;
  std::string detail(status.detail());
  if (!detail.empty() && detail.back() != '\n') detail += '\n';
  return std::move(status).with_detail(detail + "standard error" + words);
}

// --- freezing -------------------------------------------------------------------------------------------

Status check_holdable(const cell::Blueprint& blueprint) {
  if (blueprint.prepared == nullptr) {
    return Status::unsupported("a module that is loaded without being prepared cannot be frozen");
  }
  if (blueprint.reset_mode() == wasm::ResetMode::kInPlace) return {};
  std::string why;
  for (const std::string& reason : blueprint.prepared->reset_reasons)
    why += fmt::format("{}{}", why.empty() ? "" : ", ", reason);
  return Status::unsupported(
      "not all of its state can be held from outside, so it cannot be frozen: it {}{}", why,
      why.find("shared memory") == std::string::npos ? "" : " (build it without threads)");
}

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
  if (suspension.phase() == Phase::kUnwinding) {
    return Status::limit_exceeded(
        "its stack is too large to be saved where it waits for input: {} (read requests where less is "
        "called)",
        status.message());
  }
  if (status.ok() || wasi.exit_code().has_value()) {
    return Status::exited(
        "it ended with exit code {} before it read its standard input{} (what is frozen reads requests from "
        "there, in a loop or all at once)",
        wasi.exit_code().value_or(0), last_words(error));
  }
  if (status.code() == Code::kDeadlineExceeded) {
    return Status::deadline_exceeded(
        "it did not read its standard input within {} ms{} (a program that takes longer to start needs a "
        "longer "
        "freeze deadline)",
        options.deadline_ms, last_words(error));
  }
  return with_words(status.copy().with_context("before it read its standard input"), error);
}

struct Frozen {
  std::shared_ptr<const cell::Image> image;
  host::Suspended suspended;
  FrozenFacts facts;
};

// What instances for requests are made of.
std::shared_ptr<const cell::Blueprint> for_requests(const cell::Blueprint& blueprint, uint64_t memory_bytes,
                                                    uint64_t growth_max) {
  auto made = std::make_shared<cell::Blueprint>(blueprint);
  uint64_t& limit = made->limits.memory_bytes_max;
  limit = std::min(limit,
                   memory_bytes + std::min(growth_max, std::numeric_limits<uint64_t>::max() - memory_bytes));
  return made;
}

Result<Frozen> boot(const cell::Blueprint& blueprint, const memory::ResetOptions& reset,
                    const FreezeOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  Suspension suspension = SPORE_TRY(Suspension::at_first_wait(*blueprint.prepared));
  engine::Limits limits = blueprint.limits;
  limits.deadline_ms = options.deadline_ms;
  Instance instance = SPORE_TRY(cell::instantiate(blueprint, limits));
  host::Wasi& wasi = *instance.wasi();
  wasi.set_input(std::make_shared<FixedInput>("", false));
  wasi.set_suspension(&suspension);
  const auto start = SPORE_TRY(instance.function<void()>(kStart));
  const Status status = start();
  Frozen frozen;
  frozen.facts.output = wasi.take_output();
  frozen.facts.error = wasi.take_error();
  if (!status.ok() || suspension.phase() != Phase::kUnwinding) {
    return never_read(suspension, status, wasi, frozen.facts.error, options);
  }
  frozen.suspended = SPORE_TRY(suspension.freeze(instance));
  frozen.facts.memory_bytes = instance.memory_bytes();
  frozen.facts.frames_bytes = frozen.suspended.lent.size();
  frozen.image = SPORE_TRY(cell::Image::capture(
      for_requests(blueprint, frozen.facts.memory_bytes, options.memory_growth_bytes_max), instance, reset));
  frozen.facts.boot_ns = static_cast<uint64_t>((std::chrono::steady_clock::now() - begin).count());
  return frozen;
}

// --- requests -------------------------------------------------------------------------------------------

Result<std::string> framed(std::string_view text, Framing framing) {
  switch (framing) {
    case Framing::kEndOfInput: return std::string(text);
    case Framing::kLines: {
      if (text.ends_with('\n')) text.remove_suffix(1);
      const size_t line = text.find('\n');
      if (line == std::string_view::npos) return std::string(text) + '\n';
      return Status::invalid_argument(
          "a request is one line here, and this one has another at byte {} (freeze the program with length "
          "or "
          "eof framing to give it more)",
          line + 1);
    }
    case Framing::kLengths: break;
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
    case Framing::kLengths: break;
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

std::string_view framing_name(Framing framing) {
  const auto* found = std::ranges::find(kFramings, framing, &FramingName::framing);
  return found == kFramings.end() ? "?" : found->name;
}

Result<Framing> parse_framing(std::string_view name) {
  const auto* found = std::ranges::find(kFramings, name, &FramingName::name);
  if (found != kFramings.end()) return found->framing;
  return Status::invalid_argument("no framing '{}' (there are: lines, length, eof)", printable(name));
}

Program::Program(std::shared_ptr<const cell::Image> image, host::Suspended suspended,
                 std::shared_ptr<cell::Pool> pool, const FreezeOptions& options, FrozenFacts facts)
    : image_(std::move(image)),
      suspended_(std::move(suspended)),
      framing_(options.framing),
      facts_(std::move(facts)),
      pool_(std::move(pool)) {}

Program::~Program() {
  if (entry_ == nullptr) return;
  entry_ = nullptr;  // so that the pool lets it go
  pool_->forget(image_->blueprint());
}

Result<std::shared_ptr<const Program>> Program::freeze(const cell::Blueprint& blueprint,
                                                       const std::shared_ptr<cell::Pool>& pool,
                                                       const FreezeOptions& options) {
  SPORE_TRY(check_program(blueprint).with_context(blueprint.name));
  Result<Frozen> booted = boot(blueprint, pool->options().reset, options);
  if (!booted.ok()) return std::move(booted).status().with_context(blueprint.name);
  Frozen frozen = std::move(booted).value();
  return create(std::move(frozen.image), std::move(frozen.suspended), pool, options, std::move(frozen.facts));
}

Result<std::shared_ptr<const Program>> Program::create(std::shared_ptr<const cell::Image> image,
                                                       host::Suspended suspended,
                                                       const std::shared_ptr<cell::Pool>& pool,
                                                       const FreezeOptions& options, FrozenFacts facts) {
  std::shared_ptr<Program> program(
      new Program(std::move(image), std::move(suspended), pool, options, std::move(facts)));
  program->entry_ = SPORE_TRY(pool->entry(program->image_, options.domain));
  return std::shared_ptr<const Program>(std::move(program));
}

Result<Answer> Program::request(std::string_view text, const RequestOptions& options) const {
  auto input =
      std::make_shared<FixedInput>(SPORE_TRY(framed(text, framing_)), framing_ == Framing::kEndOfInput);
  const cell::Lease lease = SPORE_TRY(entry_->acquire());
  if (options.deadline_ms.has_value()) SPORE_TRY(lease->set_deadline_ms(*options.deadline_ms));
  host::Wasi& wasi = *lease->wasi();
  wasi.set_input(std::move(input));
  if (options.output_bytes_max.has_value()) wasi.set_output_bytes_max(*options.output_bytes_max);
  Suspension suspension = Suspension::from(suspended_);
  wasi.set_suspension(&suspension);
  const auto start = SPORE_TRY(lease->function<void()>(kStart));
  Status status = start();

  Answer answer{.output = wasi.take_output(), .error = wasi.take_error(), .exit_code = {}};
  const bool waits = suspension.phase() == Phase::kWaiting;
  if (waits || status.ok() || status.code() == Code::kExited) {
    if (suspension.phase() == Phase::kRewinding) {
      return Status::internal("{}: the program did not come back to where it was frozen", entry_->module());
    }
    if (!waits) answer.exit_code = wasi.exit_code().value_or(0);
    status = unframe(answer.output, framing_, !waits);
  }
  if (status.ok()) return answer;
  return with_words(std::move(status).with_context(entry_->module()), answer.error);
}

Result<std::shared_ptr<cell::PoolEntry>> freeze_library(const cell::Blueprint& blueprint,
                                                        const std::shared_ptr<cell::Pool>& pool,
                                                        const LibraryOptions& options) {
  SPORE_TRY(check_holdable(blueprint).with_context(blueprint.name));
  engine::Limits limits = blueprint.limits;
  limits.deadline_ms = options.deadline_ms;
  Instance instance = SPORE_TRY(cell::instantiate(blueprint, limits));
  const auto init = SPORE_TRY(instance.function<void()>(options.init));
  if (Status status = init(); !status.ok()) {
    const std::string error = instance.wasi() == nullptr ? "" : instance.wasi()->take_error();
    return with_words(std::move(status).with_context(fmt::format("{}: '{}'", blueprint.name, options.init)),
                      error);
  }
  const std::shared_ptr<const cell::Image> image = SPORE_TRY(cell::Image::capture(
      std::make_shared<const cell::Blueprint>(blueprint), instance, pool->options().reset));
  return pool->entry(image, options.domain);
}

}  // namespace spore::program
