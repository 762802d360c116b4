// Programs that wasm-opt rewrites, what is refused before, and all that can go wrong with wasm-opt.

#include "spore/code/rewriter.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/engine/binding.h"
#include "spore/engine/store.h"
#include "spore/wasm/prepare.h"
#include "tests/cache_fixture.h"
#include "tests/child.h"
#include "tests/guest_file.h"
#include "tests/sanitizers.h"
#include "tests/says.h"

namespace spore::code {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using test::expect_says;
using Wasm = std::vector<uint8_t>;

constexpr size_t kModuleBytesMax = size_t{1} << 30;

// Reads, and writes what it read, until there is nothing more.  `more`: fields of the module.
std::string reader_text(std::string_view more = "") {
  return fmt::format(R"((module {}
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func $read (result i32)
      (i32.store (i32.const 0) (i32.const 64))
      (i32.store (i32.const 4) (i32.const 1024))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
      (i32.load (i32.const 16)))
    (func (export "_start") (local $n i32)
      (block $end
        (loop $again
          (local.set $n (call $read))
          (br_if $end (i32.eqz (local.get $n)))
          (i32.store (i32.const 4) (local.get $n))
          (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
          (br $again))))))",
                     more);
}
Wasm reader() { return test::wasm(reader_text()); }

bool exports(const wasm::ModuleFacts& facts, std::string_view name) {
  return std::ranges::any_of(facts.exports, [&](const auto& entry) { return entry.name == name; });
}

// An instance of reader(), asyncified, whose reads wait until there is something to read.  It goes on by the
// functions that asyncify exports.
class FrozenReader {
 public:
  static constexpr int32_t kNormal = 0;
  static constexpr int32_t kUnwinding = 1;
  static constexpr int32_t kRewinding = 2;

  FrozenReader(const std::shared_ptr<const engine::Engine>& engine, const Wasm& wasm) {
    using engine::ValType;
    const engine::FuncType type{{ValType::kI32, ValType::kI32, ValType::kI32, ValType::kI32},
                                {ValType::kI32}};
    auto functions = std::make_shared<engine::HostFunctions>();
    functions->push_back({"wasi_snapshot_preview1", "fd_read", type,
                          [this](engine::Caller&, engine::RawValue* values) { return read(values); }});
    functions->push_back({"wasi_snapshot_preview1", "fd_write", type,
                          [this](engine::Caller&, engine::RawValue* values) { return write(values); }});
    auto binding = engine::Binding::create(engine->compile(wasm).value(), functions).value();
    store_ = engine::Store::create(engine, {}).value();
    instance_ = store_->instantiate(binding).value();
  }

  int32_t call(std::string_view name, int32_t argument = 0) {
    engine::RawValue value[1] = {{.i32 = argument}};
    EXPECT_TRUE(store_->function(instance_, name).value().call_unchecked(value, 1).ok());
    return value[0].i32;
  }
  int32_t state() { return call("asyncify_get_state"); }
  void run() { call("_start"); }
  std::string answer(std::string_view request) {
    call("asyncify_stop_unwind");
    input_ = request;
    output_.clear();
    call("asyncify_start_rewind", kFrames);
    run();
    return output_;
  }

 private:
  static constexpr int32_t kFrames = 4096;  // where the guest has nothing
  static constexpr int32_t kFramesBytes = 4096;

  int32_t& word(int32_t address) {
    const auto bytes =
        store_->memory(instance_).span({static_cast<uint32_t>(address)}, sizeof(int32_t)).value();
    return *reinterpret_cast<int32_t*>(bytes.data());
  }
  std::span<std::byte> buffer(const engine::RawValue* values, size_t bytes_max) {
    const int32_t vector = values[1].i32;
    const size_t bytes = std::min<size_t>(static_cast<size_t>(word(vector + 4)), bytes_max);
    return store_->memory(instance_).span({static_cast<uint32_t>(word(vector))}, bytes).value();
  }
  Status read(engine::RawValue* values) {
    const engine::RawValue arguments[4] = {values[0], values[1], values[2], values[3]};
    values[0].i32 = 0;
    if (state() == kRewinding) {
      call("asyncify_stop_rewind");
      const std::span<std::byte> to = buffer(arguments, input_.size());
      std::memcpy(to.data(), input_.data(), to.size());
      word(arguments[3].i32) = static_cast<int32_t>(to.size());
      return {};
    }
    word(kFrames) = kFrames + 8;
    word(kFrames + 4) = kFrames + kFramesBytes;
    call("asyncify_start_unwind", kFrames);
    return {};
  }
  Status write(engine::RawValue* values) {
    const std::span<std::byte> from = buffer(values, SIZE_MAX);
    output_.append(reinterpret_cast<const char*>(from.data()), from.size());
    values[0].i32 = 0;
    return {};
  }

  std::unique_ptr<engine::Store> store_;
  engine::InstanceHandle instance_;
  std::string input_;
  std::string output_;
};

class RewriterTest : public CacheFixture {
 protected:
  RewriterOptions rewriter_options() {
    RewriterOptions options;
    options.helper = SPORE_COMPILE_HELPER;
    options.niceness = 0;
    options.progress_interval = milliseconds(1);
    return options;
  }
  std::unique_ptr<Rewriter> make_rewriter() { return make_rewriter(rewriter_options()); }
  std::unique_ptr<Rewriter> make_rewriter(const RewriterOptions& options) {
    return std::move(Rewriter::create(options)).value();
  }
  // In wasm-opt's place, a program that behaves so.
  RewriterOptions stub(const std::string& behaviour) {
    RewriterOptions options = rewriter_options();
    options.wasm_opt = folder_.path() / behaviour;
    fs::copy_file(SPORE_WASM_OPT_STUB, options.wasm_opt, fs::copy_options::skip_existing);
    return options;
  }
  Status fails(const RewriterOptions& options) {
    Result<Rewritten> rewritten = make_rewriter(options)->asyncify(reader());
    EXPECT_FALSE(rewritten.ok());
    return rewritten.ok() ? Status() : std::move(rewritten).status();
  }
};

// --- what becomes of programs -----------------------------------------------------------------------------

TEST_F(RewriterTest, AProgramExportsWhatUnwindsIt) {
  const Wasm wasm = reader();
  const Rewritten rewritten = make_rewriter()->asyncify(wasm).value();
  EXPECT_EQ(rewritten.original, sha256(wasm));
  EXPECT_FALSE(rewritten.from_cache);
  const wasm::ModuleFacts facts = wasm::inspect(*rewritten.wasm, kModuleBytesMax).value();
  for (const std::string_view name : kAsyncifyExports) EXPECT_TRUE(exports(facts, name)) << name;
  EXPECT_TRUE(exports(facts, "_start"));
  EXPECT_TRUE(exports(facts, "memory"));
  // asyncify's own state: two mutable globals, which the preparer can export.
  EXPECT_EQ(facts.globals_mutable, 2u);
  const wasm::PreparedModule prepared = wasm::prepare(*rewritten.wasm, kModuleBytesMax).value();
  EXPECT_EQ(prepared.globals.size(), 2u);
  EXPECT_EQ(prepared.reset(), wasm::ResetMode::kInPlace);
}

TEST_F(RewriterTest, TheSameBytesComeOutEachTime) {
  RewriterOptions one = rewriter_options();
  one.threads = 1;
  RewriterOptions four = rewriter_options();
  four.threads = 4;
  const Rewritten first = make_rewriter(one)->asyncify(reader()).value();
  EXPECT_EQ(*first.wasm, *make_rewriter(four)->asyncify(reader()).value().wasm);
}

// What it is all for: a call that would wait returns instead, and goes on where it was.
TEST_F(RewriterTest, ACallThatWouldWaitIsGoneOnWithLater) {
  const Rewritten rewritten = make_rewriter()->asyncify(reader()).value();
  FrozenReader frozen(engine_, *rewritten.wasm);
  frozen.run();
  for (const std::string_view line : {"one", "another", "the last one"}) {
    EXPECT_EQ(frozen.state(), FrozenReader::kUnwinding);
    EXPECT_EQ(frozen.answer(line), line);
  }
  EXPECT_EQ(frozen.answer(""), "");  // the end of input: it returns
  EXPECT_EQ(frozen.state(), FrozenReader::kNormal);
}

// Backtraces show them.
TEST_F(RewriterTest, NamesOfFunctionsAreKept) {
  const auto sections = [](const Wasm& wasm) {
    std::vector<std::string> names;
    const wasm::ModuleFacts facts = wasm::inspect(wasm, kModuleBytesMax).value();
    for (const auto& section : facts.custom_sections) names.push_back(section.name);
    return names;
  };
  const Wasm named = reader();  // $read, $fd_read
  ASSERT_EQ(sections(named), std::vector<std::string>{"name"});
  EXPECT_EQ(sections(*make_rewriter()->asyncify(named).value().wasm), std::vector<std::string>{"name"});
  const Wasm nameless = test::wasm(R"((module
    (import "wasi_snapshot_preview1" "fd_read" (func (param i32 i32 i32 i32) (result i32)))
    (memory 1)
    (func (export "_start") (drop (call 0 (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))))");
  ASSERT_TRUE(sections(nameless).empty());
  EXPECT_TRUE(sections(*make_rewriter()->asyncify(nameless).value().wasm).empty());
}

// Each proposal that is not refused is one that wasm-opt is told of, and none is added.
TEST_F(RewriterTest, WhatAModuleUsesItMayUse) {
  const std::pair<uint32_t, const char*> uses[] = {
      {wasm::kSaturatingFloatToInt, "(func (export \"x\") (result i32) (i32.trunc_sat_f32_s (f32.const 1)))"},
      {wasm::kSignExtension, "(func (export \"x\") (param i32) (result i32) (i32.extend8_s (local.get 0)))"},
      {wasm::kMultiValue, "(func (export \"x\") (result i32 i32) (i32.const 1) (i32.const 2))"},
      {wasm::kBulkMemory,
       "(data $d \"abc\") (func (export \"x\") (memory.init $d (i32.const 0) (i32.const 0) (i32.const 3)) "
       "(data.drop $d))"},
      {wasm::kReferenceTypes, "(table 1 2 funcref) (func (export \"x\") (result i32) (table.size 0))"},
      {wasm::kSimd, "(func (export \"x\") (result i32) (i32x4.extract_lane 0 (i32x4.splat (i32.const 7))))"},
      {wasm::kExtendedConst, "(global (export \"x\") i32 (i32.add (i32.const 1) (i32.const 2)))"},
      {wasm::kMutableGlobals, "(global (export \"x\") (mut i32) (i32.const 1))"},
  };
  const auto rewriter = make_rewriter();
  for (const auto& [proposal, field] : uses) {
    // Imports come first in the text, so the field goes behind all others.
    std::string text = reader_text();
    text.insert(text.rfind(')'), field);
    const Wasm wasm = test::wasm(text);
    const uint32_t used = wasm::inspect(wasm, kModuleBytesMax).value().proposals;
    ASSERT_NE(used & proposal, 0u) << wasm::proposal_names(proposal);
    const Result<Rewritten> rewritten = rewriter->asyncify(wasm);
    ASSERT_TRUE(rewritten.ok()) << wasm::proposal_names(proposal) << ": " << rewritten.status().message();
    const wasm::ModuleFacts facts = wasm::inspect(*rewritten.value().wasm, kModuleBytesMax).value();
    EXPECT_EQ(facts.proposals & ~used, 0u) << wasm::proposal_names(facts.proposals);
    EXPECT_TRUE(exports(facts, "x"));
  }
}

// --- what is refused --------------------------------------------------------------------------------------

TEST_F(RewriterTest, WhatCannotBeFrozenIsRefusedWithTheWayOut) {
  struct Case {
    std::string text;
    std::string_view says;
  };
  const auto with = [](std::string_view field) {
    std::string text = reader_text();
    return text.insert(text.rfind(')'), field);
  };
  const auto without_memory = [](std::string_view fields) {
    return fmt::format(R"((module
      (import "wasi_snapshot_preview1" "fd_read" (func (param i32 i32 i32 i32) (result i32)))
      {} (func (export "_start"))))",
                       fields);
  };
  const Case cases[] = {
      {with("(func (export \"asyncify_start_unwind\") (param i32))"), "asyncified already"},
      {with("(func (export \"asyncify_get_state\"))"), "rename that export"},
      {"(module (memory 1) (func (export \"run\")))", "--init EXPORT"},
      {"(module (memory 1) (global (export \"_start\") i32 (i32.const 0)))", "no function '_start'"},
      {"(module (memory 1) (func (export \"_start\")))", "never waits for input"},
      {with("(tag $e) (func (throw $e))"), "-fno-exceptions"},
      {with("(func $f (return_call $f))"), "-mno-tail-call"},
      {with("(type $s (struct)) (func (param (ref $s)))"), "linear memory"},
      {with("(func (param externref))"), "linear memory"},
      {without_memory("(memory 1 1 shared)"), "threads"},
      {without_memory("(memory i64 1)"), "memory64"},
      {with("(memory 1)"), "several memories"},
      {with("(func (result v128) (i32x4.relaxed_trunc_f32x4_s (v128.const i64x2 0 0)))"), "relaxed-simd"},
      {without_memory(""), "0 memories"},
  };
  // None of them gets as far as wasm-opt.
  RewriterOptions options = rewriter_options();
  options.wasm_opt = "/nowhere/wasm-opt";
  const auto rewriter = make_rewriter(options);
  for (const Case& refused : cases) {
    SCOPED_TRACE(refused.text);
    const Result<Rewritten> rewritten = rewriter->asyncify(test::wasm(refused.text));
    ASSERT_FALSE(rewritten.ok());
    expect_says(rewritten.status(), Code::kUnsupported, {refused.says});
  }
  EXPECT_EQ(rewriter->asyncify(Wasm{1, 2, 3}).code(), Code::kInvalidModule);
  expect_says(rewriter->asyncify(reader()).status(), Code::kUnavailable,
              {"/nowhere/wasm-opt", "108", "binaryen", "rewrite_wasm_opt"});
}

// What only shows inside its functions, wasm-opt says.
TEST_F(RewriterTest, WhatWasmOptCannotCarryItSays) {
  const Wasm wasm = test::wasm(R"((module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (memory 1)
    (table 1 1 funcref)
    (func (export "_start") (local $kept funcref)
      (local.set $kept (table.get 0 (i32.const 0)))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
      (table.set 0 (i32.const 0) (local.get $kept)))))");
  expect_says(make_rewriter()->asyncify(wasm).status(), Code::kUnsupported,
              {"wasm-opt cannot rewrite this module", "Asyncify does not yet support", "references"});
}

TEST_F(RewriterTest, AnAsyncifiedModuleIsRefused) {
  const auto rewriter = make_rewriter();
  const Rewritten once = rewriter->asyncify(reader()).value();
  expect_says(rewriter->asyncify(*once.wasm).status(), Code::kUnsupported, {"asyncified already"});
}

TEST_F(RewriterTest, OptionsOutOfRangeAreRefused) {
  const auto refused = [&](auto change) {
    RewriterOptions options = rewriter_options();
    change(options);
    return Rewriter::create(options).code();
  };
  EXPECT_EQ(refused([](auto& options) { options.threads = RewriterOptions::kThreadsMax + 1; }),
            Code::kInvalidArgument);
  EXPECT_EQ(refused([](auto& options) { options.niceness = RewriterOptions::kNicenessMax + 1; }),
            Code::kInvalidArgument);
  EXPECT_EQ(refused([](auto& options) { options.memory_bytes_max = RewriterOptions::kMemoryBytesMin - 1; }),
            Code::kInvalidArgument);
  EXPECT_EQ(refused([](auto& options) { options.cpu_s = 0; }), Code::kInvalidArgument);
  EXPECT_EQ(refused([](auto& options) { options.wall_max = milliseconds(0); }), Code::kInvalidArgument);
  EXPECT_EQ(refused([](auto& options) { options.helper = "/nowhere"; }), Code::kUnavailable);
}

// --- what wasm-opt may do ---------------------------------------------------------------------------------

TEST_F(RewriterTest, AnotherVersionIsRefused) {
  expect_says(fails(stub("old_version")), Code::kUnavailable, {"is version 107", "version 108", "binaryen"});
  expect_says(fails(stub("odd_version")), Code::kUnavailable, {"Binaryen, of some kind", "108"});
}

TEST_F(RewriterTest, WhatIsNoProgramIsUnavailable) {
  RewriterOptions options = rewriter_options();
  options.wasm_opt = folder_.write("text", "no program");
  fs::permissions(options.wasm_opt, fs::perms::owner_all);
  expect_says(fails(options), Code::kUnavailable, {"cannot be started"});
}

TEST_F(RewriterTest, ACrashIsToldWithItsLastLine) {
  expect_says(fails(stub("crash")), Code::kInternal, {"crashed", "signal 11", "about to crash"});
}

TEST_F(RewriterTest, AFailureIsToldByItsLastLine) {
  const Status failed = fails(stub("fails"));
  expect_says(failed, Code::kUnsupported, {"exit code 1", "Fatal: \\x1b[31mno idea"});
  EXPECT_EQ(failed.message().find("reading"), std::string_view::npos);
  expect_says(fails(stub("loud")), Code::kUnsupported, {"its last line: the last line"});
}

TEST_F(RewriterTest, WhatItMakesIsChecked) {
  expect_says(fails(stub("garbage")), Code::kInternal, {"of no use"});
  expect_says(fails(stub("silent")), Code::kInternal, {"of no use"});
  expect_says(fails(stub("unchanged")), Code::kInternal, {"does not export 'asyncify_start_unwind'"});
}

TEST_F(RewriterTest, TooMuchOutputIsALimit) {
  RewriterOptions options = stub("too_much");
  options.output_bytes_max = 10'000'000;
  expect_says(fails(options), Code::kLimitExceeded, {"rewrite_output_bytes_max=10000000"});
}

TEST_F(RewriterTest, TooLargeAModuleIsALimit) {
  RewriterOptions options = rewriter_options();
  options.module_bytes_max = reader().size();
  EXPECT_TRUE(make_rewriter(options)->asyncify(reader()).ok());
  options.module_bytes_max--;
  expect_says(fails(options), Code::kLimitExceeded, {"rewrite_module_bytes_max"});
  options = rewriter_options();
  options.output_bytes_max = make_rewriter()->asyncify(reader()).value().wasm->size();
  EXPECT_TRUE(make_rewriter(options)->asyncify(reader()).ok());
  options.output_bytes_max--;
  expect_says(fails(options), Code::kLimitExceeded, {"rewrite_output_bytes_max"});
}

TEST_F(RewriterTest, TooMuchMemoryIsALimit) {
  if (test::kSanitized) GTEST_SKIP() << "a sanitized helper does not limit memory";
  RewriterOptions options = stub("hungry");
  options.memory_bytes_max = RewriterOptions::kMemoryBytesMin;
  expect_says(fails(options), Code::kLimitExceeded, {"rewrite_memory_bytes_max=268435456"});
}

TEST_F(RewriterTest, AnEndlessOneIsEndedByProcessorTime) {
  RewriterOptions options = stub("endless");
  options.cpu_s = 1;
  expect_says(fails(options), Code::kLimitExceeded, {"rewrite_cpu_s=1"});
}

TEST_F(RewriterTest, AnEndlessOneIsEndedByTheClock) {
  RewriterOptions options = stub("endless");
  options.wall_max = milliseconds(1000);
  expect_says(fails(options), Code::kLimitExceeded, {"rewrite_wall_ms=1000"});
}

TEST_F(RewriterTest, AnEndlessOneIsEndedByWhoAsked) {
  const auto rewriter = make_rewriter(stub("endless"));
  std::stop_source stop;
  std::vector<RewritePhase> phases;
  const Result<Rewritten> rewritten =
      rewriter->asyncify(reader(), stop.get_token(), [&](const RewriteProgress& progress) {
        phases.push_back(progress.phase);
        if (phases.size() == 3) stop.request_stop();
      });
  expect_says(rewritten.status(), Code::kCancelled, {"cancelled"});
  EXPECT_EQ(phases, std::vector<RewritePhase>(3, RewritePhase::kRewriting));
  EXPECT_EQ(rewriter->asyncify(reader(), stop.get_token()).code(), Code::kCancelled);
}

// Confinement: all that a program taken over by a module would try.
TEST_F(RewriterTest, ItCanDoNothingButCompute) {
  ::setenv("SECRET", "yes", 1);
  expect_says(fails(stub("spy")), Code::kUnsupported,
              {"read: Permission denied", "write: Operation not permitted", "remove: Operation not permitted",
               "list: Permission denied", "socket: Operation not permitted", "fork: Operation not permitted",
               "signal: Operation not permitted", "signal by the kernel: Operation not permitted",
               "descriptor 3: Bad file descriptor", "environment: nothing of it"});
  expect_says(fails(stub("spawner")), Code::kUnsupported, {"run: Permission denied"});
  ::unsetenv("SECRET");
  // Where there is no Landlock, it may read, and no more.
  RewriterOptions options = stub("spy");
  options.landlock = false;
  const Status status = fails(options);
  expect_says(status, Code::kUnsupported,
              {"read: works", "write: Operation not permitted", "remove: Operation not permitted",
               "socket: Operation not permitted", "fork: Operation not permitted"});
}

// Where the kernel lacks what confines it, it is not run; but what hides files one may do without.
TEST_F(RewriterTest, WithoutConfinementItIsNotRun) {
  const auto without = [&](int system_call, bool landlock) {
    return test::in_child([&] {
      RewriterOptions options = rewriter_options();
      options.landlock = landlock;
      if (!test::refuse({.system_call = system_call, .error = ENOSYS})) return std::string("no filter");
      const Result<Rewritten> rewritten = make_rewriter(options)->asyncify(reader());
      if (rewritten.ok()) return std::string("rewritten");
      return fmt::format("{}: {}", code_name(rewritten.code()), rewritten.status().message());
    });
  };
  const std::string hidden = without(SYS_landlock_create_ruleset, true);
  EXPECT_TRUE(hidden.starts_with("unavailable: ")) << hidden;
  EXPECT_NE(hidden.find("rewrite_landlock=false"), std::string::npos) << hidden;
  EXPECT_EQ(without(SYS_landlock_create_ruleset, false), "rewritten");
  const std::string filtered = without(SYS_seccomp, true);
  EXPECT_TRUE(filtered.starts_with("unavailable: ")) << filtered;
  EXPECT_NE(filtered.find("seccomp"), std::string::npos) << filtered;
}

// --- never twice ------------------------------------------------------------------------------------------

TEST_F(RewriterTest, TheSecondTimeItComesFromTheCache) {
  RewriterOptions options = rewriter_options();
  options.cache = open();
  const Rewritten first = make_rewriter(options)->asyncify(reader()).value();
  EXPECT_FALSE(first.from_cache);
  // Not even wasm-opt is needed.
  options.wasm_opt = "/nowhere/wasm-opt";
  options.cache = open();
  const auto rewriter = make_rewriter(options);
  size_t told = 0;
  const Rewritten second =
      rewriter->asyncify(reader(), {}, [&](const RewriteProgress& /*progress*/) { told++; }).value();
  EXPECT_TRUE(second.from_cache);
  EXPECT_EQ(second.original, first.original);
  EXPECT_EQ(*second.wasm, *first.wasm);
  EXPECT_EQ(told, 0u);
  EXPECT_TRUE(lines().empty()) << testing::PrintToString(lines());
  // Another module is another one.
  EXPECT_EQ(rewriter->asyncify(test::wasm(reader_text("(type (func))"))).code(), Code::kUnavailable);
}

TEST_F(RewriterTest, ADamagedResultIsRefusedAndMadeAnew) {
  RewriterOptions options = rewriter_options();
  options.cache = open();
  const auto rewriter = make_rewriter(options);
  const Rewritten first = rewriter->asyncify(reader()).value();
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(directory())) {
    if (entry.path().extension() != ".code") continue;
    Wasm bytes = read(entry.path());
    bytes.back() ^= 1;
    write(entry.path(), bytes);
    files++;
  }
  EXPECT_EQ(files, 1u);
  const Rewritten second = rewriter->asyncify(reader()).value();
  EXPECT_FALSE(second.from_cache);
  EXPECT_EQ(*second.wasm, *first.wasm);
  expect_fault(*options.cache, CacheFault::kMac);
  EXPECT_TRUE(rewriter->asyncify(reader()).value().from_cache);
}

// Waits until as many threads as there should be are there.
class Gate {
 public:
  void open() {
    {
      const std::lock_guard lock(mutex_);
      open_ = true;
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, seconds(60), [this] { return open_; }));
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

struct Counted {
  std::optional<Result<Rewritten>> result;
  std::atomic<bool> rewrote = false;
  std::atomic<bool> waited = false;
};

// Two at once: whoever rewrites begins when the other waits for it.
void run_both(Rewriter& a, Rewriter& b, Counted& one, Counted& two, std::stop_source* stop_leader = nullptr) {
  Gate waiting;
  const auto run = [&](Rewriter& rewriter, Counted& counted) {
    std::stop_source stop;
    counted.result.emplace(
        rewriter.asyncify(reader(), stop.get_token(), [&](const RewriteProgress& progress) {
          if (progress.phase == RewritePhase::kWaiting) {
            counted.waited = true;
            waiting.open();
          }
          if (progress.phase != RewritePhase::kRewriting || counted.rewrote.exchange(true)) return;
          waiting.wait();
          if (stop_leader != nullptr && !stop_leader->stop_requested()) {
            stop_leader->request_stop();
            stop.request_stop();
          }
        }));
  };
  std::jthread other([&] { run(a, one); });
  run(b, two);
}

TEST_F(RewriterTest, TwoThreadsMakeOneFlight) {
  const auto rewriter = make_rewriter();
  Counted one;
  Counted two;
  run_both(*rewriter, *rewriter, one, two);
  ASSERT_TRUE(one.result->ok() && two.result->ok());
  EXPECT_EQ(one.rewrote + two.rewrote, 1);
  EXPECT_EQ(one.waited + two.waited, 1);
  EXPECT_EQ(one.result->value().wasm, two.result->value().wasm);  // the very same
}

TEST_F(RewriterTest, TwoProcessesMakeOneFlight) {
  RewriterOptions options = rewriter_options();
  options.cache = open();
  const auto a = make_rewriter(options);
  options.cache = open();  // as another process would
  const auto b = make_rewriter(options);
  Counted one;
  Counted two;
  run_both(*a, *b, one, two);
  ASSERT_TRUE(one.result->ok() && two.result->ok());
  EXPECT_EQ(one.rewrote + two.rewrote, 1);
  EXPECT_EQ(one.result->value().from_cache + two.result->value().from_cache, 1);
  EXPECT_EQ(*one.result->value().wasm, *two.result->value().wasm);
  EXPECT_EQ(count(".flight"), 0u);
}

TEST_F(RewriterTest, WhoWaitsGoesOnWhenTheOtherIsCancelled) {
  const auto rewriter = make_rewriter();
  Counted one;
  Counted two;
  std::stop_source stop;
  run_both(*rewriter, *rewriter, one, two, &stop);
  EXPECT_EQ(one.rewrote + two.rewrote, 2);
  EXPECT_EQ(one.result->ok() + two.result->ok(), 1);
  EXPECT_EQ((one.result->ok() ? two : one).result->code(), Code::kCancelled);
}

// A child has none of its parent's flights, and waits for none.
TEST_F(RewriterTest, AForkedChildMakesItsOwn) {
  const auto rewriter = make_rewriter();
  std::optional<std::string> wrong;
  const Result<Rewritten> rewritten = rewriter->asyncify(reader(), {}, [&](const RewriteProgress& progress) {
    if (progress.phase != RewritePhase::kRewriting || wrong) return;
    wrong = test::in_child([&] {
      const Result<Rewritten> own = rewriter->asyncify(reader());
      return std::string(own.status().message());
    });
  });
  EXPECT_TRUE(rewritten.ok());
  EXPECT_EQ(wrong, "");
}

TEST_F(RewriterTest, ProgressSaysWhatAndForHowLong) {
  EXPECT_EQ((RewriteProgress{.phase = RewritePhase::kRewriting, .elapsed = milliseconds(12'900)}.text()),
            "rewriting, 12 s");
  std::vector<RewritePhase> phases;
  milliseconds last{0};
  const Result<Rewritten> rewritten =
      make_rewriter()->asyncify(reader(), {}, [&](const RewriteProgress& progress) {
        EXPECT_GE(progress.elapsed, last);
        last = progress.elapsed;
        if (phases.empty() || phases.back() != progress.phase) phases.push_back(progress.phase);
      });
  EXPECT_TRUE(rewritten.ok());
  EXPECT_EQ(phases, (std::vector{RewritePhase::kRewriting, RewritePhase::kChecking}));
}

}  // namespace
}  // namespace spore::code
