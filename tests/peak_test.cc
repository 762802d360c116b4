// Real programs in the form for the tier above the optimising compiler: they answer as before, and instances
// go over to it in the middle of their life.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/fd.h"
#include "spore/cell/blueprint.h"
#include "spore/code/optimiser.h"
#include "spore/engine/ticker.h"
#include "spore/host/wasi.h"

namespace spore {
namespace {

namespace fs = std::filesystem;
using Wasm = std::vector<uint8_t>;

constexpr size_t kBytesMax = size_t{64} << 20;

class PeakGuests : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const fs::path file = fs::path(SPORE_SOURCE_DIR "/build/guests") / GetParam();
    if (!fs::exists(file)) GTEST_SKIP() << "there are no guests: run tools/guests.sh";
    const Wasm wasm = read_file(file, kBytesMax).value();
    prepared_ = std::make_shared<const wasm::PreparedModule>(wasm::prepare(wasm, kBytesMax).value());
    code::WasmOptOptions options;
    options.helper = SPORE_COMPILE_HELPER;
    const auto optimiser = code::Optimiser::create(options).value();
    peak_ = *optimiser->peak(prepared_->wasm, *prepared_).value().wasm;
    host::HostFunctions functions;
    host::define_wasi(functions);
    functions_ = functions.freeze();
  }

  std::shared_ptr<const engine::Binding> binding(const Wasm& wasm) const {
    return engine::Binding::create(engine_->compile(wasm).value(), functions_).value();
  }
  host::Instance instance_of(const Wasm& wasm) const {
    engine::Limits limits;
    limits.deadline_ms = 60'000;
    const cell::Blueprint blueprint{.name = GetParam(),
                                    .code = std::make_shared<engine::LiveBinding>(binding(wasm)),
                                    .prepared = prepared_,
                                    .limits = limits,
                                    .wasi = host::WasiConfig::create({}).value()};
    return cell::instantiate(blueprint, limits).value();
  }
  // All that these libraries can be asked without files.
  static std::string answers(const host::Instance& instance) {
    std::string all = fmt::format("{}", instance.function<int64_t()>("initialised").value()().value());
    const auto primes = instance.function<int32_t(int32_t)>("primes").value();
    for (const int32_t below : {10, 1000, 30'000}) all += fmt::format(" {}", primes(below).value());
    const auto greet = instance.function<std::string(std::string_view)>("greet").value();
    return all + " " + greet("grüße").value();
  }

  // Baseline code is there sooner, and knows nothing of who made the module.
  std::shared_ptr<const engine::Engine> engine_ =
      engine::Engine::create({.tier = engine::Tier::kBaseline}, std::make_shared<engine::Ticker>()).value();
  std::shared_ptr<const engine::HostFunctions> functions_;
  std::shared_ptr<const wasm::PreparedModule> prepared_;
  Wasm peak_;
};
INSTANTIATE_TEST_SUITE_P(Guests, PeakGuests,
                         testing::Values("c_reactor.wasm", "cpp_reactor.wasm", "rust_reactor.wasm"),
                         [](const auto& each) {
                           const std::string_view name = each.param;
                           return std::string(name.substr(0, name.find('.')));
                         });

TEST_P(PeakGuests, AnswerAsBefore) {
  const std::string expected = answers(instance_of(prepared_->wasm));
  EXPECT_TRUE(expected.starts_with("85344 4 168 3245 ")) << expected;
  EXPECT_EQ(answers(instance_of(peak_)), expected);
}

TEST_P(PeakGuests, GoOverThereAndBack) {
  host::Instance plain = instance_of(prepared_->wasm);
  host::Instance other = instance_of(prepared_->wasm);
  const auto there = binding(peak_);
  const auto back = binding(prepared_->wasm);
  for (const auto& code : {there, back, there}) {
    EXPECT_EQ(answers(other), answers(plain));
    const Status status = other.store().hand_over(code, *prepared_);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  EXPECT_EQ(answers(other), answers(plain));
}

}  // namespace
}  // namespace spore
