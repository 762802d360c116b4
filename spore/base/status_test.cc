#include "spore/base/status.h"

#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace spore {
namespace {

struct Note : Status::Attachment {
  explicit Note(int number) : value(number) {}
  int value;
};

int note_of(const Status& status) {
  const auto* note = dynamic_cast<const Note*>(status.attachment());
  return note == nullptr ? 0 : note->value;
}

// Writes its name down when it goes.
class Tracer {
 public:
  Tracer(std::string name, std::vector<std::string>& gone) : name_(std::move(name)), gone_(&gone) {}
  Tracer(Tracer&& other) noexcept
      : name_(std::move(other.name_)), gone_(std::exchange(other.gone_, nullptr)) {}
  Tracer& operator=(Tracer&&) = delete;
  ~Tracer() {
    if (gone_ != nullptr) gone_->push_back(name_);
  }

 private:
  std::string name_;
  std::vector<std::string>* gone_;
};

// --- Status -------------------------------------------------------------------------------------------

// The names are an interface: JSON and metrics carry them.
TEST(StatusTest, EveryCodeHasItsName) {
  const std::vector<std::pair<Code, std::string_view>> names{
      {Code::kOk, "ok"},
      {Code::kInvalidArgument, "invalid_argument"},
      {Code::kInvalidModule, "invalid_module"},
      {Code::kNotFound, "not_found"},
      {Code::kAlreadyExists, "already_exists"},
      {Code::kUnsupported, "unsupported"},
      {Code::kCorruption, "corruption"},
      {Code::kLimitExceeded, "limit_exceeded"},
      {Code::kDeadlineExceeded, "deadline_exceeded"},
      {Code::kCancelled, "cancelled"},
      {Code::kTrap, "trap"},
      {Code::kExited, "exited"},
      {Code::kHostError, "host_error"},
      {Code::kUnavailable, "unavailable"},
      {Code::kIo, "io"},
      {Code::kInternal, "internal"},
  };
  std::set<std::string_view> seen;
  for (const auto& [code, name] : names) {
    EXPECT_EQ(code_name(code), name);
    EXPECT_TRUE(seen.insert(name).second) << name;
  }
  EXPECT_EQ(static_cast<size_t>(Code::kInternal) + 1, names.size()) << "a new code is missing here";
  EXPECT_EQ(code_name(static_cast<Code>(200)), "unknown");
}

TEST(StatusTest, SuccessSaysNothing) {
  const Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.code(), Code::kOk);
  EXPECT_EQ(status.message(), "");
  EXPECT_EQ(status.detail(), "");
  EXPECT_EQ(status.attachment(), nullptr);
}

TEST(StatusTest, FactoriesGiveTheirCodeAndFormatTheMessage) {
  EXPECT_EQ(Status::invalid_argument("{}", 1).code(), Code::kInvalidArgument);
  EXPECT_EQ(Status::invalid_module("{}", 1).code(), Code::kInvalidModule);
  EXPECT_EQ(Status::not_found("{}", 1).code(), Code::kNotFound);
  EXPECT_EQ(Status::already_exists("{}", 1).code(), Code::kAlreadyExists);
  EXPECT_EQ(Status::unsupported("{}", 1).code(), Code::kUnsupported);
  EXPECT_EQ(Status::corruption("{}", 1).code(), Code::kCorruption);
  EXPECT_EQ(Status::limit_exceeded("{}", 1).code(), Code::kLimitExceeded);
  EXPECT_EQ(Status::deadline_exceeded("{}", 1).code(), Code::kDeadlineExceeded);
  EXPECT_EQ(Status::cancelled("{}", 1).code(), Code::kCancelled);
  EXPECT_EQ(Status::host_error("{}", 1).code(), Code::kHostError);
  EXPECT_EQ(Status::unavailable("{}", 1).code(), Code::kUnavailable);
  EXPECT_EQ(Status::internal("{}", 1).code(), Code::kInternal);
  EXPECT_EQ(Status::make(Code::kIo, "{} of {}", 1, "x").message(), "1 of x");
}

// What a guest wrote may hold braces: it must never be taken for a format.
TEST(StatusTest, BracesInArgumentsAreText) {
  EXPECT_EQ(Status::not_found("no '{}'", "{0} {} {{").message(), "no '{0} {} {{'");
  EXPECT_EQ(Status(Code::kTrap, "{}").message(), "{}");
}

TEST(StatusTest, ErrnoBecomesNotFoundOrIo) {
  const Status missing = Status::from_errno(ENOENT, "open 'x.wasm'");
  EXPECT_EQ(missing.code(), Code::kNotFound);
  EXPECT_EQ(missing.message(), "open 'x.wasm': No such file or directory");
  const Status denied = Status::from_errno(EACCES, "open 'x.wasm'");
  EXPECT_EQ(denied.code(), Code::kIo);
  EXPECT_EQ(denied.message(), "open 'x.wasm': Permission denied");
}

TEST(StatusTest, ContextGoesBeforeTheMessageOutermostFirst) {
  const Status status = Status::corruption("wrong magic").with_context("header").with_context("/data/a.snap");
  EXPECT_EQ(status.code(), Code::kCorruption);
  EXPECT_EQ(status.message(), "/data/a.snap: header: wrong magic");
}

// Context is given on the way out, often before anybody looked whether there was an error.
TEST(StatusTest, SuccessTakesNoContextDetailOrAttachment) {
  EXPECT_TRUE(Status().with_context("x").ok());
  EXPECT_TRUE(Status().with_detail("x").ok());
  EXPECT_TRUE(Status().with_attachment(std::make_shared<Note>(1)).ok());
  EXPECT_EQ(Status().with_detail("x").detail(), "");
}

TEST(StatusTest, DetailAndAttachmentSurviveContextAndMove) {
  Status status = Status(Code::kTrap, "unreachable")
                      .with_detail("0: f\n1: g\n")
                      .with_attachment(std::make_shared<Note>(7))
                      .with_context("call");
  const Status moved = std::move(status);
  EXPECT_EQ(moved.code(), Code::kTrap);
  EXPECT_EQ(moved.message(), "call: unreachable");
  EXPECT_EQ(moved.detail(), "0: f\n1: g\n");
  EXPECT_EQ(note_of(moved), 7);
}

TEST(StatusTest, CopyHasAllOfItAndALifeOfItsOwn) {
  Status original = Status(Code::kTrap, "m").with_detail("d").with_attachment(std::make_shared<Note>(7));
  const Status copy = original.copy();
  original = std::move(original).with_context("later").with_detail("other");
  EXPECT_EQ(copy.code(), Code::kTrap);
  EXPECT_EQ(copy.message(), "m");
  EXPECT_EQ(copy.detail(), "d");
  EXPECT_EQ(note_of(copy), 7);
  EXPECT_EQ(original.message(), "later: m");
  EXPECT_TRUE(Status().copy().ok());
}

TEST(StatusTest, AssignmentReplacesAnError) {
  Status status = Status::not_found("a");
  status = Status::internal("b");
  EXPECT_EQ(status.message(), "b");
  status = Status();
  EXPECT_TRUE(status.ok());
}

// --- Result -------------------------------------------------------------------------------------------

TEST(ResultTest, HoldsAValueOrAStatus) {
  const Result<int> good = 3;
  EXPECT_TRUE(good.ok());
  EXPECT_EQ(good.code(), Code::kOk);
  EXPECT_EQ(good.value(), 3);
  EXPECT_TRUE(good.status().ok());

  const Result<int> bad = Status::not_found("no 3");
  EXPECT_FALSE(bad.ok());
  EXPECT_EQ(bad.code(), Code::kNotFound);
  EXPECT_EQ(bad.status().message(), "no 3");
}

TEST(ResultTest, ValueOrGivesTheOtherOnlyOnError) {
  EXPECT_EQ(Result<int>(3).value_or(4), 3);
  EXPECT_EQ(Result<int>(Status::not_found("no")).value_or(4), 4);
}

TEST(ResultTest, ValuesMayBeMoveOnlyAndWithoutDefault) {
  struct NoDefault {
    explicit NoDefault(int number) : held(std::make_unique<int>(number)) {}
    std::unique_ptr<int> held;
  };
  Result<NoDefault> result = NoDefault(5);
  Result<NoDefault> moved = std::move(result);
  EXPECT_EQ(*moved->held, 5);
  const NoDefault out = std::move(moved).value();
  EXPECT_EQ(*out.held, 5);
}

TEST(ResultTest, StatusOfAnRvalueIsMovedOut) {
  Result<int> bad = Status::internal("x").copy().with_detail("d");
  const Status status = std::move(bad).status();
  EXPECT_EQ(status.message(), "x");
  EXPECT_EQ(status.detail(), "d");
}

// An error has no value to destroy, a value exactly one, wherever it was moved.
TEST(ResultTest, ValueIsDestroyedOnce) {
  std::vector<std::string> gone;
  {
    Result<Tracer> result = Tracer("value", gone);
    const Result<Tracer> moved = std::move(result);
    const Result<Tracer> error = Status::internal("none");
    EXPECT_TRUE(gone.empty());
  }
  EXPECT_EQ(gone, std::vector<std::string>{"value"});
}

// --- SPORE_TRY ----------------------------------------------------------------------------------------

Result<int> positive(int number) {
  if (number <= 0) {
    return Status::invalid_argument("{} is not positive", number)
        .with_detail("a detail")
        .with_attachment(std::make_shared<Note>(number));
  }
  return number;
}

Status check_positive(int number) {
  SPORE_TRY(positive(number));  // a Result in a function that gives a Status
  return {};
}

Result<std::string> describe(int number) {
  SPORE_TRY(check_positive(number));  // a Status in a function that gives a Result
  const int same = SPORE_TRY(positive(number));
  return fmt::format("<{}>", same);
}

Result<std::unique_ptr<std::string>> describe_twice(int first, int second) {
  auto text = std::make_unique<std::string>(SPORE_TRY(describe(first)));
  *text += SPORE_TRY(describe(second));
  return text;
}

TEST(TryTest, ValuesComeThrough) {
  EXPECT_EQ(*describe_twice(1, 2).value(), "<1><2>");
  EXPECT_TRUE(check_positive(1).ok());
}

// Four frames of Status and Result, which have different value types.
TEST(TryTest, AnErrorComesThroughFramesWhole) {
  const auto result = describe_twice(1, -2);
  EXPECT_EQ(result.code(), Code::kInvalidArgument);
  EXPECT_EQ(result.status().message(), "-2 is not positive");
  EXPECT_EQ(result.status().detail(), "a detail");
  EXPECT_EQ(note_of(result.status()), -2);
}

TEST(TryTest, MoveOnlyValuesAreMovedNotCopied) {
  const auto outer = []() -> Result<std::unique_ptr<std::string>> {
    std::unique_ptr<std::string> text = SPORE_TRY(describe_twice(1, 2));
    *text += "!";
    return text;
  };
  EXPECT_EQ(*outer().value(), "<1><2>!");
}

TEST(TryTest, TheExpressionIsEvaluatedOnce) {
  int calls = 0;
  const auto count = [&]() -> Result<int> { return ++calls; };
  const auto use = [&]() -> Status {
    SPORE_TRY(count());
    return {};
  };
  EXPECT_TRUE(use().ok());
  EXPECT_EQ(calls, 1);
}

Result<int> leave_early(bool fail, std::vector<std::string>& gone) {
  const Tracer first("first", gone);
  const Tracer second("second", gone);
  const auto step = [&](Tracer) -> Result<int> {
    if (fail) return Status::internal("failed");
    return 1;
  };
  const int value = SPORE_TRY(step(Tracer("argument", gone)));
  const Tracer third("third", gone);
  return value;
}

// The macro is a statement expression: what was built must go on both ways out, last born first.
TEST(TryTest, LocalsAreDestroyedInOrderOnBothWaysOut) {
  std::vector<std::string> gone;
  EXPECT_FALSE(leave_early(true, gone).ok());
  EXPECT_EQ(gone, (std::vector<std::string>{"argument", "second", "first"}));
  gone.clear();
  EXPECT_TRUE(leave_early(false, gone).ok());
  EXPECT_EQ(gone, (std::vector<std::string>{"argument", "third", "second", "first"}));
}

Status leave_a_loop(int rounds, std::vector<std::string>& gone) {
  for (int i = rounds; i >= 0; i--) {
    const Tracer round(fmt::format("round {}", i), gone);
    SPORE_TRY(check_positive(i));
  }
  return {};
}

TEST(TryTest, LeavesALoopFromInside) {
  std::vector<std::string> gone;
  EXPECT_EQ(leave_a_loop(2, gone).message(), "0 is not positive");
  EXPECT_EQ(gone, (std::vector<std::string>{"round 2", "round 1", "round 0"}));
}

// --- bugs abort ---------------------------------------------------------------------------------------

TEST(StatusDeathTest, TheValueOfAnErrorAbortsWithItsMessage) {
  const Result<int> bad = Status::not_found("no such thing");
  EXPECT_DEATH(static_cast<void>(bad.value()), "assertion failed: has_value_: no such thing");
}

TEST(StatusDeathTest, AResultNeedsAValueOrAnError) {
  EXPECT_DEATH(static_cast<void>(Result<int>{Status()}), "a Result without a value needs an error");
  EXPECT_DEATH(static_cast<void>(Status(Code::kOk, "x")), "an error needs a code");
}

}  // namespace
}  // namespace spore
