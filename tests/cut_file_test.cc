// The file of an image is cut short while instances use it: guests' code of each tier, the copies that the
// engine makes for them, and the host's.  The process goes on, the image is known to be broken, and no call
// that may have read of it gives a result.

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/fd.h"
#include "spore/cell/clean_instance.h"
#include "spore/cell/image.h"
#include "spore/memory/page_image.h"
#include "tests/blueprint.h"
#include "tests/slot_check.h"

namespace spore {
namespace {

using engine::Tier;

constexpr const char* kGuest = R"((module
  (memory (export "memory") 4)
  (func (export "sum") (param $at i32) (param $end i32) (result i32) (local $sum i32)
    (loop $next
      (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
    (local.get $sum))
  (func (export "store") (i32.store (i32.const 100) (i32.const 7)))
  (func (export "copy") (memory.copy (i32.const 131072) (i32.const 0) (i32.const 65536)))
  (func (export "fill") (memory.fill (i32.const 0) (i32.const 3) (i32.const 65536))))
)";
constexpr size_t kFileBytes = 2 * test::kWasmPage;
constexpr int32_t kFileEnd = kFileBytes;

class CutFileTest : public testing::TestWithParam<std::tuple<Tier, bool>> {
 protected:
  void SetUp() override {
    std::string path = SPORE_BINARY_DIR "/cut.XXXXXX";
    fd_ = UniqueFd(::mkostemp(path.data(), O_CLOEXEC));
    ::unlink(path.c_str());
    ASSERT_EQ(::pwrite(fd_.get(), bytes_.data(), kFileBytes, 0), static_cast<ssize_t>(kFileBytes));
    modules_ = std::make_unique<test::Modules>(
        engine::EngineOptions{.tier = std::get<0>(GetParam()), .compact_memories = std::get<1>(GetParam())});
    blueprint_ = modules_->load("guest", kGuest);
    cell::Image::Parts parts = cell::Image::create(blueprint_, {}).value()->parts().value();
    of_file_ = memory::PageImage::map_file(
                   {.fd = fd_.get(), .bytes = 4 * test::kWasmPage, .mapped_bytes = kFileBytes})
                   .value();
    parts.memories.at(0) = of_file_;
    image_ = cell::Image::restore(blueprint_, std::move(parts), {}).value().image;
    instance_ = cell::CleanInstance::create(blueprint_, image_).value();
  }
  void cut() const { ASSERT_EQ(::ftruncate(fd_.get(), 0), 0); }
  Result<int32_t> sum(int32_t at, int32_t end) const {
    return SPORE_TRY(instance_->instance().function<int32_t(int32_t, int32_t)>("sum"))(at, end);
  }
  Status run(const char* name) const { return SPORE_TRY(instance_->instance().function<void()>(name))(); }

  const std::vector<std::byte> bytes_ = test::pattern(kFileBytes);
  const int32_t sum_ = std::accumulate(bytes_.begin(), bytes_.end(), 0, [](int32_t sum, std::byte byte) {
    return sum + static_cast<int32_t>(byte);
  });
  UniqueFd fd_;
  std::unique_ptr<test::Modules> modules_;
  std::shared_ptr<const cell::Blueprint> blueprint_;
  std::shared_ptr<const memory::PageImage> of_file_;
  std::shared_ptr<const cell::Image> image_;
  std::unique_ptr<cell::CleanInstance> instance_;
};
INSTANTIATE_TEST_SUITE_P(Tiers, CutFileTest,
                         testing::Values(std::tuple(Tier::kInterpreter, false),
                                         std::tuple(Tier::kBaseline, false),
                                         std::tuple(Tier::kOptimised, false),
                                         std::tuple(Tier::kOptimised, true)),
                         [](const auto& tier) {
                           return std::string(engine::tier_name(std::get<0>(tier.param))) +
                                  (std::get<1>(tier.param) ? "_compact" : "");
                         });

// As long as nobody cuts it, an instance of a file is as any other.
TEST_P(CutFileTest, WithAWholeFileCallsAreClean) {
  for (int i = 0; i < 20; i++) {
    instance_->begin(nullptr);
    EXPECT_EQ(sum(0, kFileEnd).value(), sum_);
    EXPECT_TRUE(run("copy").ok());
    EXPECT_EQ(sum(0, 4 * 65536).value(), sum_ + sum(0, 65536).value());
    EXPECT_TRUE(run(i % 2 == 0 ? "fill" : "store").ok());
    EXPECT_NE(sum(0, kFileEnd).value(), sum_);
    ASSERT_TRUE(instance_->reset().ok());
  }
  EXPECT_FALSE(of_file_->broken());
}

TEST_P(CutFileTest, GuestsReadZerosAndTheirAnswersAreRefused) {
  instance_->begin(nullptr);
  EXPECT_EQ(sum(0, kFileEnd).value(), sum_);
  cut();
  EXPECT_FALSE(of_file_->broken());
  EXPECT_EQ(sum(0, kFileEnd).code(), Code::kCorruption);
  EXPECT_TRUE(of_file_->broken());
  EXPECT_EQ(sum(0, 1).code(), Code::kUnavailable);  // it is not used again
  EXPECT_EQ(instance_->reset().status().code(), Code::kCorruption);
  const auto another = cell::CleanInstance::create(blueprint_, image_);
  ASSERT_FALSE(another.ok());
  EXPECT_NE(another.status().message().find("cut short"), std::string_view::npos)
      << another.status().message();
}

TEST_P(CutFileTest, WritesGoOn) {
  instance_->begin(nullptr);
  cut();
  EXPECT_EQ(run("store").code(), Code::kCorruption);
  EXPECT_TRUE(of_file_->broken());
}

TEST_P(CutFileTest, CopiesByTheEngineGoOn) {
  for (const char* name : {"copy", "fill"}) {
    SetUp();
    instance_->begin(nullptr);
    cut();
    EXPECT_EQ(run(name).code(), Code::kCorruption);
    EXPECT_TRUE(of_file_->broken()) << name;
  }
}

TEST_P(CutFileTest, CopiesByTheHostGoOn) {
  instance_->begin(nullptr);
  cut();
  EXPECT_EQ(instance_->instance().read_bytes(engine::GuestPtr{0}, kFileBytes).value(),
            std::vector<std::byte>(kFileBytes));
  EXPECT_TRUE(of_file_->broken());
  EXPECT_EQ(sum(0, 1).code(), Code::kCorruption);
}

// On a thread that has run no guest before: its alternate stack is made for this call.
TEST_P(CutFileTest, ANewThreadGoesOnToo) {
  std::jthread([&] {
    instance_->begin(nullptr);
    cut();
    EXPECT_EQ(sum(0, kFileEnd).code(), Code::kCorruption);
  }).join();
  EXPECT_TRUE(of_file_->broken());
}

// Traps are traps as ever, with the handler of SIGBUS there, and in memory that is broken.
TEST_P(CutFileTest, WhatIsOutOfBoundsTraps) {
  instance_->begin(nullptr);
  EXPECT_EQ(sum(4 * 65536, 5 * 65536).status().code(), Code::kTrap);
  EXPECT_FALSE(of_file_->broken());
  cut();
  EXPECT_EQ(sum(0, 4 * 65536 + 1).status().code(), Code::kCorruption);
  EXPECT_TRUE(of_file_->broken());
}

}  // namespace
}  // namespace spore
