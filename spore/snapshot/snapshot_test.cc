// An image goes into a file and comes back, in what could be another process, and is the same image.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/fd.h"
#include "spore/engine/ticker.h"
#include "spore/host/functions.h"
#include "spore/snapshot/errors.h"
#include "tests/blueprint.h"
#include "tests/guest_file.h"
#include "tests/json_check.h"
#include "tests/snapshot_file.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;
using cell::CleanInstance;
using cell::Image;

// `_initialize` leaves something in every place that holds state, which `look` then reads.
constexpr const char* kGuest = R"((module $guest
  (memory (export "memory") 1 200)
  (memory $second 1)
  (table $t 3 20 funcref)
  (type $number (func (result i32)))
  (global $i32 (mut i32) (i32.const 1))
  (global $i64 (mut i64) (i64.const 2))
  (global $f32 (mut f32) (f32.const 3))
  (global $f64 (mut f64) (f64.const 4))
  (global $v128 (mut v128) (v128.const i64x2 5 6))
  (data (i32.const 0) "active")
  (data $passive "passive")
  (data $kept "kept")
  (elem $functions func $one)
  (elem declare func $one $two)
  (func $one (type $number) (i32.const 1))
  (func $two (type $number) (i32.const 2))
  (func $start (i32.store (i32.const 64) (i32.const 11)))
  (start $start)
  (func (export "_initialize") (local $i i32)
    (drop (memory.grow (i32.const 120)))
    (loop $again
      (i32.store (i32.add (i32.const 200000) (i32.mul (local.get $i) (i32.const 3001)))
        (i32.mul (local.get $i) (i32.const 7919)))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2500))))
    (i64.store $second (i32.const 4096) (i64.const 0x123456789abcdef))
    (global.set $i32 (i32.const -100)) (global.set $i64 (i64.const -200))
    (global.set $f32 (f32.const nan:0x400001)) (global.set $f64 (f64.const -0))
    (global.set $v128 (v128.const i64x2 7 8))
    (memory.init $passive (i32.const 128) (i32.const 0) (i32.const 7))
    (data.drop $passive)
    (table.set $t (i32.const 1) (ref.func $two))
    (drop (table.grow $t (ref.func $one) (i32.const 2)))
    (elem.drop $functions))
  (func (export "sum") (result i64) (local $at i32) (local $sum i64)
    (loop $again
      (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (i64.load (local.get $at))))
      (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8)))
        (i32.mul (memory.size) (i32.const 65536)))))
    (local.get $sum))
  (func (export "second") (result i64) (i64.load $second (i32.const 4096)))
  (func (export "pages") (result i32) (memory.size))
  (func (export "i32") (result i32) (global.get $i32))
  (func (export "i64") (result i64) (global.get $i64))
  (func (export "f32") (result i32) (i32.reinterpret_f32 (global.get $f32)))
  (func (export "f64") (result i64) (i64.reinterpret_f64 (global.get $f64)))
  (func (export "v128") (result i64) (i64x2.extract_lane 1 (global.get $v128)))
  (func (export "elements") (result i32) (table.size $t))
  (func (export "element") (param i32) (result i32)
    (if (result i32) (ref.is_null (table.get $t (local.get 0)))
      (then (i32.const 0)) (else (call_indirect $t (type $number) (local.get 0)))))
  (func (export "init_dropped") (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 1)))
  (func (export "init_kept") (memory.init $kept (i32.const 0) (i32.const 0) (i32.const 4)))
  (func (export "init_table") (table.init $t $functions (i32.const 0) (i32.const 0) (i32.const 1)))
  (func (export "spoil") (i32.store (i32.const 200000) (i32.const 1)) (global.set $i32 (i32.const 0))
    (table.set $t (i32.const 0) (ref.func $one)) (drop (memory.grow (i32.const 1))))))";

// How a module is made ready, in a process that has nothing of it yet.
std::shared_ptr<const cell::Blueprint> blueprint_of(std::shared_ptr<const wasm::PreparedModule> prepared,
                                                    std::shared_ptr<const host::WasiConfig> wasi = nullptr,
                                                    engine::Limits limits = {}) {
  limits.memories_max = 2;
  host::HostFunctions host;
  if (wasi != nullptr) host::define_wasi(host);
  const auto engine = engine::Engine::create({}, std::make_shared<engine::Ticker>()).value();
  const auto code = engine->compile(prepared->wasm, prepared->facts.hash, wasm::kPreparerVersion).value();
  return std::make_shared<const cell::Blueprint>(cell::Blueprint{
      .name = "guest",
      .code = std::make_shared<engine::LiveBinding>(engine::Binding::create(code, host.freeze()).value()),
      .prepared = std::move(prepared),
      .limits = limits,
      .wasi = std::move(wasi)});
}
std::shared_ptr<const cell::Blueprint> blueprint_of(std::span<const uint8_t> source,
                                                    std::shared_ptr<const host::WasiConfig> wasi = nullptr) {
  return blueprint_of(
      std::make_shared<const wasm::PreparedModule>(wasm::prepare(source, size_t{1} << 30).value()),
      std::move(wasi));
}

std::shared_ptr<const std::vector<uint8_t>> shared(std::vector<uint8_t> bytes) {
  return std::make_shared<const std::vector<uint8_t>>(std::move(bytes));
}

template <typename R, typename... Args>
R call(CleanInstance& clean, std::string_view name, Args... args) {
  return clean.instance().function<R(Args...)>(name).value()(args...).value();
}
Status run(CleanInstance& clean, std::string_view name) {
  return clean.instance().function<void()>(name).value()();
}

// All that kGuest lets anybody see.
std::string look(CleanInstance& clean) {
  clean.begin(nullptr);
  std::string text =
      fmt::format("{} pages, sum {:x}, second {:x}; globals {} {} {:x} {:x} {}; table",
                  call<int32_t>(clean, "pages"), call<int64_t>(clean, "sum"), call<int64_t>(clean, "second"),
                  call<int32_t>(clean, "i32"), call<int64_t>(clean, "i64"), call<int32_t>(clean, "f32"),
                  call<int64_t>(clean, "f64"), call<int64_t>(clean, "v128"));
  for (int32_t i = 0; i < call<int32_t>(clean, "elements"); i++) {
    text += fmt::format(" {}", call<int32_t>(clean, "element", i));
  }
  for (const char* name : {"init_dropped", "init_table", "init_kept"}) {
    text += fmt::format("; {}: {}", name, run(clean, name).ok() ? "done" : "trap");
  }
  EXPECT_TRUE(clean.reset().ok());
  return text;
}

class SnapshotTest : public testing::Test {
 protected:
  ~SnapshotTest() override { fs::remove_all(folder_); }

  fs::path path(std::string_view name) const { return folder_ / name; }

  static Contents contents_of_guest(const std::shared_ptr<const cell::Blueprint>& blueprint,
                                    const std::vector<uint8_t>& source, Origin origin = {}) {
    const auto image = Image::create(blueprint, {}).value();
    return contents_of(*image, shared(source), std::move(origin)).value();
  }

  const fs::path folder_ = test::new_folder();
};

// --- the image -------------------------------------------------------------------------------------------

// Goal: nothing is lost on the way.  An instance of the image that was read shows what one of the original
// shows, before and after it was used and reset, and the module is the same, byte for byte.
TEST_F(SnapshotTest, AnImageComesBackInAFreshProcess) {
  const std::vector<uint8_t> source = test::wasm(kGuest);
  const auto blueprint = blueprint_of(source);
  const auto image = Image::create(blueprint, {}).value();
  const auto original = CleanInstance::create(blueprint, image).value();
  const std::string shown = look(*original);
  EXPECT_NE(shown.find("121 pages"), std::string::npos) << shown;
  EXPECT_NE(shown.find("globals -100 -200 7fc00001 -8000000000000000 8; table 0 2 0 1 1"), std::string::npos)
      << shown;
  EXPECT_NE(shown.find("init_dropped: trap; init_table: trap; init_kept: done"), std::string::npos) << shown;

  const Contents before = contents_of(*image, shared(source), {.domain = "a", .entry = "sum"}).value();
  ASSERT_TRUE(write(before, path("image")).ok());
  for (const Validation validation : {Validation::kStructure, Validation::kChecksum, Validation::kFull}) {
    const Contents after = read(path("image"), {.validation = validation}).value();
    EXPECT_EQ(after.prepared->wasm, blueprint->prepared->wasm);
    EXPECT_EQ(wasm::encode_prepared(*after.prepared), wasm::encode_prepared(*blueprint->prepared));
    EXPECT_EQ(*after.source, source);
    const auto fresh = blueprint_of(after.prepared);
    const Image::Restored restored = restore(after, fresh, {}).value();
    EXPECT_TRUE(restored.lost.empty());
    EXPECT_EQ(restored.image->bytes(), image->bytes());
    const auto clean = CleanInstance::create(fresh, restored.image).value();
    EXPECT_EQ(look(*clean), shown);
    clean->begin(nullptr);
    EXPECT_TRUE(run(*clean, "spoil").ok());
    EXPECT_TRUE(clean->reset().ok());
    EXPECT_EQ(look(*clean), shown);
  }
}

// The same from pages that are mapped from the file: what an instance writes is its own, and what a reset
// puts back are the file's.
TEST_F(SnapshotTest, AnImageIsStartedFromItsFile) {
  const std::vector<uint8_t> source = test::wasm(kGuest);
  const auto blueprint = blueprint_of(source);
  const auto image = Image::create(blueprint, {}).value();
  const std::string shown = look(*CleanInstance::create(blueprint, image).value());
  ASSERT_TRUE(
      write(contents_of(*image, shared(source), {}).value(), path("image"), WriteOptions::local()).ok());
  const std::vector<uint8_t> bytes = read_file(path("image"), size_t{1} << 30).value();
  Contents after;
  do {  // until a change of the file would be seen
    after = read(path("image")).value();
  } while (!after.load.mapped);
  const auto fresh = blueprint_of(after.prepared);
  const Image::Restored restored = restore(after, fresh, {}).value();
  EXPECT_EQ(restored.image->bytes(), 0u) << "it holds nothing that is not the file's";
  for (int i = 0; i < 2; i++) {
    const auto clean = CleanInstance::create(fresh, restored.image).value();
    EXPECT_EQ(look(*clean), shown);
    for (int j = 0; j < 3; j++) {
      clean->begin(nullptr);
      EXPECT_TRUE(run(*clean, "spoil").ok());
      EXPECT_TRUE(clean->reset().ok());
      EXPECT_EQ(look(*clean), shown);
    }
  }
  EXPECT_EQ(read_file(path("image"), size_t{1} << 30).value(), bytes);
  // A new file in its place is another image; this one goes on from the old one.
  std::ofstream(path("other")) << "nothing";
  fs::rename(path("other"), path("image"));
  EXPECT_EQ(look(*CleanInstance::create(fresh, restored.image).value()), shown);
}

TEST_F(SnapshotTest, AllOfTheManifestComesBack) {
  const std::vector<uint8_t> source = test::wasm(kGuest);
  Contents before = contents_of_guest(blueprint_of(source), source,
                                      {.domain = "tenant",
                                       .created_s = 1'234'567,
                                       .original = sha256(std::vector<uint8_t>{1, 2, 3}),
                                       .rewriter = "binaryen 108",
                                       .rewriter_arguments = "--asyncify",
                                       .entry = "_start",
                                       .framing = Framing::kLength,
                                       .frames = Frames{.address = 70'000, .borrowed = {1, 2, 3}}});
  ASSERT_TRUE(write(before, path("image")).ok());
  const Contents after = read(path("image")).value();
  EXPECT_EQ(encode_manifest(after.manifest), encode_manifest(before.manifest));
  EXPECT_EQ(after.manifest.domain, "tenant");
  EXPECT_EQ(after.manifest.created_s, 1'234'567u);
  EXPECT_EQ(after.manifest.original, sha256(std::vector<uint8_t>{1, 2, 3}));
  EXPECT_EQ(after.manifest.rewriter, "binaryen 108");
  EXPECT_EQ(after.manifest.rewriter_arguments, "--asyncify");
  EXPECT_EQ(after.manifest.entry, "_start");
  EXPECT_EQ(after.manifest.framing, Framing::kLength);
  EXPECT_EQ(after.manifest.module, sha256(source));
  EXPECT_EQ(after.manifest.prepared, sha256(after.prepared->wasm));
  EXPECT_EQ(after.frames, before.frames);
  EXPECT_FALSE(after.manifest.wasi.has_value());
}

TEST_F(SnapshotTest, TheSameContentsMakeTheSameBytes) {
  const std::vector<uint8_t> source = test::wasm(kGuest);
  const Contents contents = contents_of_guest(blueprint_of(source), source);
  const auto first = test::written_bytes(contents, path("first")).value();
  EXPECT_EQ(test::written_bytes(contents, path("second")).value(), first);
  const Contents again = read(path("first")).value();
  EXPECT_EQ(test::written_bytes(again, path("third")).value(), first);
}

// Another module's instance would be given what does not fit it.
TEST_F(SnapshotTest, OnlyTheSameModuleTakesAnImage) {
  const std::vector<uint8_t> source = test::wasm(kGuest);
  const std::vector<uint8_t> other = test::wasm("(module (memory 1) (global (mut i32) (i32.const 0)))");
  const Contents contents = contents_of_guest(blueprint_of(source), source);
  const Result<Image::Restored> restored = restore(contents, blueprint_of(other), {});
  EXPECT_EQ(restored.code(), Code::kInvalidArgument);
  EXPECT_NE(restored.status().message().find("not the module of this image"), std::string::npos);
  const auto image = Image::create(blueprint_of(other), {}).value();
  const Result<Contents> of_other = contents_of(*image, shared(source), {});
  EXPECT_EQ(of_other.code(), Code::kInvalidArgument);
  EXPECT_EQ(error_info(of_other.status())->kind, ErrorKind::kValidation);
  EXPECT_EQ(error_info(restored.status())->kind, ErrorKind::kValidation);
  EXPECT_EQ(
      Image::restore(blueprint_of(other),
                     {.memories = contents.image.memories, .values = contents.image.values, .wasi = {}}, {})
          .code(),
      Code::kInvalidArgument);
}

TEST_F(SnapshotTest, AnImageIsHeldToTheLimitsOfItsBlueprint) {
  const std::vector<uint8_t> source = test::wasm(kGuest);
  const Contents contents = contents_of_guest(blueprint_of(source), source);
  const uint64_t bytes = contents.image.memories[0]->bytes();
  for (const uint64_t most : {bytes, bytes - 1}) {
    engine::Limits limits;
    limits.memory_bytes_max = most;
    const Result<Image::Restored> restored =
        restore(contents, blueprint_of(contents.prepared, nullptr, limits), {});
    EXPECT_EQ(restored.ok(), most == bytes);
    EXPECT_TRUE(restored.ok() || restored.code() == Code::kLimitExceeded) << restored.status().message();
  }
}

// More pages than one thread takes, in runs that begin and end anywhere: each is where it was.
TEST_F(SnapshotTest, PagesAreWhereTheyWere) {
  constexpr size_t kPages = 5000;
  std::vector<std::byte> memory(kPages / 16 * 16 * memory::kPageBytes);
  uint32_t random = 1;
  for (size_t at = 0; at < memory.size(); at += memory::kPageBytes) {
    random = random * 1'664'525 + 1'013'904'223;
    if ((random >> 24) % 8 == 0) continue;
    for (size_t i = 0; i < memory::kPageBytes; i += 61)
      memory[at + i] = static_cast<std::byte>(at / 4096 + i);
  }
  const std::vector<uint8_t> source = test::wasm("(module (memory 1))");
  const Contents contents = test::contents_without_engine(source, {memory});
  ASSERT_TRUE(write(contents, path("image")).ok());
  const Contents after = read(path("image")).value();
  const memory::PageImage& image = *after.image.memories[0];
  EXPECT_EQ(image.bytes(), memory.size());
  EXPECT_EQ(image.held_bytes(), contents.image.memories[0]->held_bytes());
  for (size_t at = 0; at < memory.size(); at += memory::kPageBytes) {
    const std::byte* page = image.page(at);
    const std::span<const std::byte> right(memory.data() + at, memory::kPageBytes);
    if (page == nullptr) {
      ASSERT_EQ(contents.image.memories[0]->page(at), nullptr) << at;
    } else {
      ASSERT_TRUE(std::ranges::equal(std::span(page, memory::kPageBytes), right)) << at;
    }
  }
}

// --- WASI ----------------------------------------------------------------------------------------------

// Opens /data/file and reads three bytes of it while it initialises; `next` reads one more.
constexpr const char* kReader = R"((module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "file")
  (func $read_some (param i32) (result i32)
    (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (local.get 0))
    (if (call $read (i32.load (i32.const 8)) (i32.const 16) (i32.const 1) (i32.const 24)) (then (return (i32.const -1))))
    (i32.load8_u (i32.const 64)))
  (func (export "_initialize")
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0) (i64.const 2)
      (i64.const 0) (i32.const 0) (i32.const 8)) (then (unreachable)))
    (drop (call $read_some (i32.const 3))))
  (func (export "next") (result i32) (call $read_some (i32.const 1)))
  (func (export "args") (result i32)
    (drop (call $args (i32.const 32) (i32.const 36))) (i32.load (i32.const 32)))))";

class SnapshotWasiTest : public SnapshotTest {
 protected:
  SnapshotWasiTest() {
    fs::create_directory(path("data"));
    std::ofstream(path("data") / "file") << "abcdef";
    write_image();
  }
  void write_image() {
    const auto config = host::WasiConfig::create(
                            {.args = {"reader", "x"},
                             .env = {"A=b"},
                             .directories = {{.host = path("data"), .guest = "/data", .writable = false}},
                             .clock = host::WasiClock{},
                             .random_seed = 7})
                            .value();
    const std::vector<uint8_t> source = test::wasm(kReader);
    ASSERT_TRUE(write(contents_of_guest(blueprint_of(source, config), source), path("image")).ok());
  }
};

TEST_F(SnapshotWasiTest, OpenFilesAreOpenWhereTheyWere) {
  const Contents contents = read(path("image")).value();
  ASSERT_TRUE(contents.manifest.wasi.has_value());
  EXPECT_EQ(contents.manifest.wasi->args, (std::vector<std::string>{"reader", "x"}));
  EXPECT_EQ(contents.manifest.wasi->env, std::vector<std::string>{"A=b"});
  ASSERT_EQ(contents.manifest.wasi->directories.size(), 1u);
  EXPECT_EQ(contents.manifest.wasi->directories[0].host, path("data"));
  EXPECT_EQ(contents.manifest.wasi->directories[0].guest, "/data");
  EXPECT_FALSE(contents.manifest.wasi->directories[0].writable);
  EXPECT_EQ(contents.manifest.wasi->random_seed, 7u);
  EXPECT_TRUE(contents.manifest.wasi->clock.has_value());

  const auto config = host::WasiConfig::create(*contents.manifest.wasi).value();
  const auto blueprint = blueprint_of(contents.prepared, config);
  const Image::Restored restored = restore(contents, blueprint, {}).value();
  EXPECT_TRUE(restored.lost.empty());
  const auto clean = CleanInstance::create(blueprint, restored.image).value();
  for (int i = 0; i < 3; i++) {
    clean->begin(nullptr);
    EXPECT_EQ(call<int32_t>(*clean, "next"), 'd');
    EXPECT_EQ(call<int32_t>(*clean, "next"), 'e');
    EXPECT_EQ(call<int32_t>(*clean, "args"), 2);
    EXPECT_TRUE(clean->reset().ok());
  }
}

TEST_F(SnapshotWasiTest, AFileThatIsGoneIsLostAndNamed) {
  fs::remove(path("data") / "file");
  const Contents contents = read(path("image")).value();
  const auto blueprint =
      blueprint_of(contents.prepared, host::WasiConfig::create(*contents.manifest.wasi).value());
  const Image::Restored restored = restore(contents, blueprint, {}).value();
  ASSERT_EQ(restored.lost.size(), 1u);
  EXPECT_EQ(restored.lost[0].path, "/data/file");
  const auto clean = CleanInstance::create(blueprint, restored.image).value();
  clean->begin(nullptr);
  EXPECT_EQ(call<int32_t>(*clean, "next"), -1);
}

TEST_F(SnapshotWasiTest, AWorldAndAStateBelongTogether) {
  const Contents contents = read(path("image")).value();
  EXPECT_EQ(
      Image::restore(
          blueprint_of(contents.prepared, host::WasiConfig::create({}).value()),
          {.memories = contents.image.memories, .values = contents.image.values, .wasi = contents.image.wasi},
          {})
          .code(),
      Code::kInvalidArgument);  // has no /data
  EXPECT_EQ(
      Image::restore(blueprint_of(contents.prepared, host::WasiConfig::create({}).value()),
                     {.memories = contents.image.memories, .values = contents.image.values, .wasi = {}}, {})
          .code(),
      Code::kInvalidArgument);
}

// --- files ---------------------------------------------------------------------------------------------

TEST_F(SnapshotTest, AFileIsItsOwnersAndAppearsWhole) {
  const Contents contents =
      test::contents_without_engine(test::wasm("(module (memory 1))"), {std::vector<std::byte>(65536)});
  std::ofstream(path("image")) << "before";
  const Digest id = write(contents, path("image")).value();
  struct stat info{};
  ASSERT_EQ(::stat(path("image").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(describe(path("image")).value().id, id);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);

  const Result<Digest> nowhere = write(contents, path("no/image"));
  EXPECT_EQ(nowhere.code(), Code::kNotFound) << nowhere.status().message();
  fs::create_directory(path("folder"));
  EXPECT_EQ(write(contents, path("folder")).code(), Code::kIo);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 2);
}

TEST_F(SnapshotTest, WhatIsNoFileIsRefused) {
  EXPECT_EQ(read(path("missing")).code(), Code::kNotFound);
  EXPECT_EQ(read(folder_).code(), Code::kInvalidArgument);
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(read(path("fifo")).code(), Code::kInvalidArgument);
  EXPECT_EQ(describe(path("fifo")).code(), Code::kInvalidArgument);
  std::ofstream(path("empty")).close();
  const Result<Contents> empty = read(path("empty"));
  EXPECT_EQ(empty.code(), Code::kCorruption);
  EXPECT_NE(empty.status().message().find("empty"), std::string::npos) << empty.status().message();
}

TEST_F(SnapshotTest, TheOptionsAreLimits) {
  const Contents contents =
      test::contents_without_engine(test::wasm("(module (memory 2))"), {std::vector<std::byte>(2 * 65536)});
  ASSERT_TRUE(write(contents, path("image"), test::kUncompressed).ok());
  const uint64_t bytes = fs::file_size(path("image"));
  EXPECT_TRUE(read(path("image"), {.file_bytes_max = bytes}).ok());
  EXPECT_EQ(read(path("image"), {.file_bytes_max = bytes - 1}).code(), Code::kLimitExceeded);
  EXPECT_TRUE(read(path("image"), {.memory_bytes_max = 2 * 65536}).ok());
  const Result<Contents> large = read(path("image"), {.memory_bytes_max = 2 * 65536 - 1});
  EXPECT_EQ(large.code(), Code::kLimitExceeded);
  EXPECT_NE(large.status().message().find("memory_bytes_max=131071"), std::string::npos);
}

// What does not fit each other is not written: whoever reads it would have to refuse it.
TEST_F(SnapshotTest, WhatNobodyWouldReadIsNotWritten) {
  const auto contents = [] {
    return test::contents_without_engine(test::wasm("(module (memory 1 2) (global (mut i32) (i32.const 1)))"),
                                         {std::vector<std::byte>(65536)});
  };
  EXPECT_TRUE(write(contents(), path("image")).ok());
  std::vector<Contents> wrong;
  wrong.push_back(contents());
  wrong.back().image.values.globals[0].type = engine::ValType::kI64;
  wrong.push_back(contents());
  wrong.back().image.values.globals.clear();
  wrong.push_back(contents());
  wrong.back().image.values.tables.emplace_back();
  wrong.push_back(contents());
  wrong.back().image.memories.clear();
  wrong.push_back(contents());
  wrong.back().image.memories[0] = memory::PageImage::create(std::vector<std::byte>(3 * 65536)).value();
  wrong.push_back(contents());
  wrong.back().image.memories[0] = memory::PageImage::create(std::vector<std::byte>(65536 + 4096)).value();
  wrong.push_back(contents());
  wrong.back().manifest.name.resize((1 << 20) + 1);
  wrong.push_back(contents());
  wrong.back().manifest.original.bytes[0]++;  // and nothing rewrote it
  wrong.push_back(contents());
  wrong.back().manifest.module.bytes[0]++;
  wrong.push_back(contents());
  wrong.back().manifest.preparer++;
  wrong.push_back(contents());
  wrong.back().image.wasi = std::vector<uint8_t>{1};
  wrong.push_back(contents());
  wrong.back().frames = Frames{.address = 65536, .borrowed = {1}};
  for (size_t i = 0; i < wrong.size(); i++) {
    EXPECT_EQ(write(wrong[i], path("wrong")).code(), Code::kInvalidArgument) << i;
  }
  EXPECT_FALSE(fs::exists(path("wrong")));
}

// --- describing ----------------------------------------------------------------------------------------

TEST_F(SnapshotWasiTest, ADescriptionSaysWhatIsInIt) {
  const Description description = describe(path("image")).value();
  const std::string text = description.text();
  for (const std::string& part :
       {std::string("version 2, an image of"), description.id.hex(), std::string("argument      reader"),
        std::string("variable      A=b"), "directory     /data is " + path("data").native(),
        std::string("65536 bytes, 4096 of them here"), std::string("section         PAGES"),
        std::string("zstd of"), std::string("wasmtime")}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  }
  JsonWriter writer;
  description.write_json(writer);
  const std::string json = writer.take();
  EXPECT_TRUE(test::JsonCheck::is_json(json)) << json;
  EXPECT_NE(json.find("\"raw_bytes\": 4096"), std::string::npos) << json;
  uint64_t bytes = 0;
  for (const Description::Section& section : description.sections) bytes = section.offset + section.bytes;
  EXPECT_EQ(bytes, fs::file_size(path("image")));
}

}  // namespace
}  // namespace spore::snapshot
