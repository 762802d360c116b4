#include "spore/udf/program_function.h"

#include <atomic>

#include "spore/base/json_reader.h"
#include "spore/base/utf8.h"

namespace spore::udf {

using host::WitArg;
using host::WitValue;

std::string_view last_line(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  const size_t begin = text.rfind('\n');
  return begin == std::string_view::npos ? text : text.substr(begin + 1);
}

namespace {

Status append_arg(const wasm::WitType& type, const WitArg& arg, std::string& json) {
  if (type.kind == wasm::WitKind::kString) {
    if (!is_utf8(arg.text)) return Status::invalid_argument("a string that is not UTF-8");
    json += json_quote(arg.text);
    return {};
  }
  if (arg.value != nullptr) {
    SPORE_TRY(host::check_value(type, *arg.value));
    host::append_json(type, *arg.value, json);
    return {};
  }
  const host::WitValue value{.bits = arg.bits, .text = std::string(arg.text)};
  SPORE_TRY(host::check_value(type, value));
  host::append_json(type, value, json);
  return {};
}

Status append_args(const wasm::WitSignature& signature, std::span<const WitArg> args, std::string& json) {
  json += '[';
  for (size_t i = 0; i < args.size(); i++) {
    if (i > 0) json += ',';
    SPORE_TRY(append_arg(*signature.params[i].type, args[i], json)
                  .with_context(fmt::format("argument {} ('{}')", i + 1, signature.params[i].name)));
  }
  json += ']';
  return {};
}

void append_document(const Document& document, std::string& json) {
  json += fmt::format(R"({{"fields":{},"id":{},"score":{}}})", document.json(), json_quote(document.id()),
                      host::to_json({.kind = wasm::WitKind::kF64}, WitValue::f64(document.score())));
}

constexpr size_t kMessageBytesMax = 500;

// What the program said last, if it ended itself.
Result<std::string> answer_of(Result<program::Answer> asked) {
  if (!asked.ok()) return std::move(asked).status();
  program::Answer answer = std::move(asked).value();
  if (!answer.exit_code.has_value() || *answer.exit_code == 0) return std::move(answer.output);
  const std::string_view line = last_line(answer.error);
  if (line.empty()) return Status::exited("it ended with exit code {}", *answer.exit_code);
  return Status::exited("{}", printable(line, kMessageBytesMax)).with_detail(answer.error);
}

// `values_left`: as from_json has it.
Result<WitValue> result_of(const wasm::WitSignature& signature, std::string_view json, size_t& values_left) {
  if (signature.result == nullptr) return WitValue();
  Result<WitValue> value = host::from_json(*signature.result, json, values_left);
  if (value.ok()) return value;
  if (value.code() == Code::kLimitExceeded) {
    return Status::limit_exceeded("a result of {} with more values in it than copy_bytes_max lets be",
                                  signature.result->text());
  }
  return Status::invalid_argument("it gave {}, which is no {} ({})", printable(last_line(json)),
                                  signature.result->text(), value.status().message());
}

}  // namespace

// Each request is given a clean copy of the program in any case: of isolation there is but one.
class ProgramSession final : public Session {
 public:
  ProgramSession(std::shared_ptr<const Function> function, const ProgramFunction& program, const Watch& watch)
      : Session(std::move(function), false), program_(program), options_(program.request_options(watch)) {}

 private:
  bool run_numbers(engine::RawValue* /*values*/, size_t /*count*/) override {
    failure_ = Status::internal("a program takes no core values");
    return false;
  }

  Status run(std::span<const WitArg> args, WitValue& result, const Document* document) override {
    json_.clear();
    const bool with_document = program_.frozen_.calls && document != nullptr;
    if (with_document) json_ += R"({"args":)";
    SPORE_TRY(append_args(program_.signature(), args, json_));
    if (with_document) {
      json_ += R"(,"document":)";
      append_document(*document, json_);
      json_ += '}';
    }
    const std::string answer = SPORE_TRY(answer_of(program_.program().request(json_, options_)));
    size_t values_left = program_.values_max();
    result = SPORE_TRY(result_of(program_.signature(), answer, values_left));
    return {};
  }

  // [[true, result] or [false, "why"], ...]
  Status run_batch(const Rows& rows, std::vector<Result<WitValue>>& results,
                   const Document* document) override {
    if (!program_.frozen_.calls || document != nullptr) return Status::unsupported("it takes no batches");
    json_ = R"({"rows":[)";
    for (size_t i = 0; i < rows.count; i++) {
      if (i > 0) json_ += ',';
      SPORE_TRY(append_args(program_.signature(), rows.row(i), json_));
    }
    json_ += "]}";
    const std::string answer = SPORE_TRY(answer_of(program_.program().request(json_, options_)));
    size_t values_left = program_.values_max();
    JsonReader json(answer);
    if (!json.begin_array()) return json.take_failure();
    for (bool first = true; json.next_element(first);) {
      if (results.size() == rows.count)
        return Status::invalid_argument("more results than {} rows", rows.count);
      bool inner = true;
      if (!json.begin_array() || !json.next_element(inner)) return json.take_failure();
      const std::optional<bool> done = json.boolean();
      if (!done || !json.next_element(inner)) return json.take_failure();
      const std::optional<std::string_view> raw = json.raw();
      if (!raw || json.next_element(inner) || json.failed()) return json.take_failure();
      if (*done) {
        Result<WitValue> value = result_of(program_.signature(), *raw, values_left);
        if (value.code() == Code::kLimitExceeded) return std::move(value).status();  // of all rows together
        results.push_back(std::move(value));
        continue;
      }
      std::string why;
      JsonReader(*raw).string(why);
      results.emplace_back(Status::exited("{}", printable(why, kMessageBytesMax)));
    }
    return json.finish();
  }

  const ProgramFunction& program_;
  const program::RequestOptions options_;
  std::string json_;
};

// A cell for the group: what a step leaves in the program's variables the next one finds.
class ProgramGroup final : public Group {
 public:
  static Result<std::unique_ptr<Group>> create(std::shared_ptr<const Function> function,
                                               const ProgramFunction& program, const Watch& watch) {
    static std::atomic<uint64_t> next{1};
    auto kind = SPORE_TRY(program.program().cell_kind(*program.runtime_.cells()));
    std::unique_ptr<ProgramGroup> group(
        new ProgramGroup(std::move(function), program, watch, fmt::format("group {}", next.fetch_add(1))));
    SPORE_TRY(program.runtime_.cells()->create(kind, group->cell_));
    group->domain_ = kind->domain();
    group->made_ = true;
    return std::unique_ptr<Group>(std::move(group));
  }
  ~ProgramGroup() override {
    if (made_) static_cast<void>(program_.runtime_.cells()->remove({cell_, domain_}));
  }
  ProgramGroup(const ProgramGroup&) = delete;
  ProgramGroup& operator=(const ProgramGroup&) = delete;

  Status step(std::span<const WitArg> args) override {
    const std::span<const WitArg> whole = SPORE_TRY(whole_.of(program_, args));
    std::string json = R"({"step":)";
    SPORE_TRY(append_args(program_.signature(), whole, json));
    return ask(json + "}").status().copy();
  }
  Status finish(WitValue& result) override {
    const std::string answer = SPORE_TRY(ask(R"({"finish":true})"));
    size_t values_left = program_.values_max();
    result = SPORE_TRY(result_of(program_.signature(), answer, values_left));
    return {};
  }

 private:
  ProgramGroup(std::shared_ptr<const Function> function, const ProgramFunction& program, const Watch& watch,
               std::string cell)
      : function_(std::move(function)),
        program_(program),
        options_(program.request_options(watch)),
        cell_(std::move(cell)) {}

  Result<std::string> ask(std::string_view json) {
    function_->statistics().calls.fetch_add(1, std::memory_order_relaxed);
    Result<std::string> answer = answer_of(
        program_.program().request_in(*program_.runtime_.cells(), {cell_, domain_}, json, options_));
    if (!answer.ok()) function_->statistics().errors.fetch_add(1, std::memory_order_relaxed);
    return answer;
  }

  const std::shared_ptr<const Function> function_;
  const ProgramFunction& program_;
  const program::RequestOptions options_;
  const std::string cell_;
  std::string domain_;
  bool made_ = false;
  WholeArguments whole_;
};

std::unique_ptr<Session> ProgramFunction::make_session(const Watch& watch, Isolation /*isolation*/) const {
  return std::make_unique<ProgramSession>(shared_from_this(), *this, watch);
}

Result<std::unique_ptr<Group>> ProgramFunction::make_group(const Watch& watch) const {
  if (!frozen_.calls) return Status::unsupported("aggregates in {} are not there yet", definition().language);
  return ProgramGroup::create(shared_from_this(), *this, watch);
}

}  // namespace spore::udf
