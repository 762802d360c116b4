// Nothing of one tenant is ever seen by another, nor by his own next call: secrets of many domains, in many
// modules, through few places.

#include <array>
#include <atomic>
#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "spore/runtime/runtime.h"
#include "tests/guest_file.h"
#include "tests/sanitizers.h"

namespace spore {
namespace {

using cell::CleanFunction;
using runtime::ModuleOptions;
using runtime::Runtime;
using runtime::RuntimeOptions;

constexpr int kCalls = test::kSanitized ? 20'000 : 1'000'000;
constexpr int kThreads = 2;
constexpr uint32_t kModules = 50;
constexpr std::array<std::string_view, 4> kDomains = {"", "red", "green", "blue"};

// Where one module keeps what it is told.  No two are alike, so that what one leaves in a memory that another
// gets lies where that one looks.
struct Layout {
  uint32_t pages;   // of memory
  uint32_t first;   // address of the first word
  uint32_t stride;  // from word to word
  uint32_t words;
  uint32_t elements;  // of the table
  bool grows;
};

Layout layout_of(uint32_t number) {
  const uint32_t pages = 1 + number % 5;
  const uint32_t words = 16 + number % 7;
  return {.pages = pages,
          .first = 8 * (1 + number),
          .stride = (pages * 65536 - 8 * (2 + number)) / words / 8 * 8,
          .words = words,
          .elements = 1 + number % 4,
          .grows = number % 3 == 0};
}

// `visit` says what it finds that is not as it was, as bits: 1 words, 2 the length, 4 globals, 8 the table,
// 16 what instantiation put into memory, 32 a page that is new and not empty.  Then it leaves the secret
// everywhere.
std::string guest(const Layout& layout) {
  return fmt::format(R"((module
    (memory (export "memory") {pages} {more})
    (data (i32.const 0) "\01\02\03\04")
    (table $t {elements} funcref)
    (global $a (mut i64) (i64.const 0))
    (global $b (mut i32) (i32.const 3))
    (global $c (mut f64) (f64.const 0))
    (func $f)
    (elem declare func $f)
    (func (export "visit") (param $secret i64) (result i32)
      (local $found i32) (local $i i32) (local $at i32) (local $grown i32)
      (local.set $at (i32.const {first}))
      (loop $words
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0))
          (then (local.set $found (i32.or (local.get $found) (i32.const 1)))))
        (i64.store (local.get $at) (local.get $secret))
        (local.set $at (i32.add (local.get $at) (i32.const {stride})))
        (br_if $words (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {words}))))
      (if (i32.ne (memory.size) (i32.const {pages}))
        (then (local.set $found (i32.or (local.get $found) (i32.const 2)))))
      (if (i32.or (i64.ne (global.get $a) (i64.const 0)) (i32.or (i32.ne (global.get $b) (i32.const 3))
                  (f64.ne (global.get $c) (f64.const 0))))
        (then (local.set $found (i32.or (local.get $found) (i32.const 4)))))
      (global.set $a (local.get $secret))
      (global.set $b (i32.wrap_i64 (local.get $secret)))
      (global.set $c (f64.convert_i64_u (local.get $secret)))
      (local.set $i (i32.const 0))
      (loop $elements
        (if (i32.eqz (ref.is_null (table.get $t (local.get $i))))
          (then (local.set $found (i32.or (local.get $found) (i32.const 8)))))
        (table.set $t (local.get $i) (ref.func $f))
        (br_if $elements
          (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {elements}))))
      (if (i32.ne (i32.load (i32.const 0)) (i32.const 0x04030201))
        (then (local.set $found (i32.or (local.get $found) (i32.const 16)))))
      (i32.store (i32.const 0) (i32.wrap_i64 (local.get $secret)))
      (if (i32.and (i32.const {grows}) (i64.eqz (i64.rem_u (local.get $secret) (i64.const 16))))
        (then
          (local.set $grown (i32.shl (memory.grow (i32.const 1)) (i32.const 16)))
          (if (i64.ne (i64.load offset=4096 (local.get $grown)) (i64.const 0))
            (then (local.set $found (i32.or (local.get $found) (i32.const 32)))))
          (i64.store offset=4096 (local.get $grown) (local.get $secret))))
      (local.get $found))))",
                     fmt::arg("pages", layout.pages), fmt::arg("more", layout.pages + 2),
                     fmt::arg("first", layout.first), fmt::arg("stride", layout.stride),
                     fmt::arg("words", layout.words), fmt::arg("elements", layout.elements),
                     fmt::arg("grows", layout.grows ? 1 : 0));
}

// Goal: the sentence above.  Method: threads go from module to module and domain to domain, by chance; each
// call says what it found.  There are fewer places than modules and domains, so that instances are evicted
// all the time and their memories become others'.
TEST(CanaryTest, NoSecretIsEverFound) {
  RuntimeOptions options;
  options.tier = engine::Tier::kBaseline;  // what it compiles is run once
  options.pool.instances_per_module_max = kThreads;
  options.pool.instances_max = 40;
  options.pool.wait_timeout_ms = 60'000;
  options.pool.idle_expiry_ms = 100;
  const auto runtime = Runtime::create(std::move(options)).value();
  using Visit = CleanFunction<int32_t(int64_t)>;
  std::vector<Visit> visits;
  for (uint32_t number = 0; number < kModules; number++) {
    const ModuleOptions tier{.tier = number % 10 == 0 ? engine::Tier::kOptimised : engine::Tier::kBaseline};
    const auto module =
        runtime->load_module(fmt::format("m{}", number), test::wasm(guest(layout_of(number))), tier).value();
    ASSERT_EQ(module->prepared()->reset(), wasm::ResetMode::kInPlace);
    for (const std::string_view domain : kDomains) {
      visits.push_back(
          runtime->clean_function<int32_t(int64_t)>(*module, "visit", {.domain = domain}).value());
    }
  }

  std::atomic<int> calls{0};
  std::atomic<int> failed{0};
  std::atomic<uint32_t> found{0};
  const uint32_t seed = std::random_device()();
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; t++) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(seed + t);
      constexpr int kStay = 200;  // calls, on average 100, before it goes elsewhere
      while (calls.load() < kCalls) {
        const size_t which = random() % visits.size();
        const int stay = static_cast<int>(1 + random() % kStay);
        const int64_t domain = static_cast<int64_t>(which % kDomains.size() + 1);
        for (int i = 0; i < stay; i++) {
          const Result<int32_t> bits =
              visits[which](domain << 40 | static_cast<int64_t>(random() % 1000 + 1));
          if (!bits.ok()) {
            failed++;
          } else if (bits.value() != 0) {
            found |= static_cast<uint32_t>(bits.value());
          }
        }
        calls += stay;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(found.load(), 0u) << "seed " << seed;
  EXPECT_EQ(failed.load(), 0) << "seed " << seed;

  const cell::PoolCounts counts = runtime->statistics().pool.counts;
  EXPECT_EQ(counts.acquired, static_cast<uint64_t>(calls.load()) + visits.size());
  EXPECT_EQ(counts.timeouts, 0u);
  EXPECT_GT(counts.evicted, static_cast<uint64_t>(kCalls) / 1000);
  EXPECT_GT(runtime->statistics().slots.reused, counts.evicted / 2);
}

}  // namespace
}  // namespace spore
