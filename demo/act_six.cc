// Act 6: a cell sleeps, is forked, and wakes in another process.

#include <chrono>
#include <filesystem>

#include "bench/frozen_work.h"
#include "bench/harness.h"
#include "demo/acts.h"
#include "spore/base/elapsed.h"
#include "spore/base/fd.h"
#include "spore/handler/handler.h"
#include "spore/runtime/cell_home.h"
#include "spore/snapshot/reader.h"
#include "tests/process.h"

namespace spore::demo {

using bench::fail;
using runtime::CellHome;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::string_view kCart = R"(const cart = [];

export function handle(item) {
  cart.push(item);
  return cart.join(", ");
}
)";

runtime::FrozenProgram freeze_cart(Runtime& runtime, const test::TemporaryFolder& folder) {
  const std::filesystem::path file = folder.write("cart.js", std::string(kCart));
  const handler::Handler handler = handler::read_handler(file, {}).value();
  constexpr size_t kBytesMax = size_t{64} << 20;
  const auto wasm = read_file(
      std::filesystem::path(SPORE_SOURCE_DIR "/build/guests") / handler.language->runtime, kBytesMax);
  if (!wasm.ok()) fail(wasm.status().message());
  auto frozen =
      runtime.freeze_program("cart", wasm.value(), {.wasi = host::WasiConfig::create(handler.world).value()},
                             {.framing = handler::kFraming, .setup = handler.setup});
  if (!frozen.ok()) fail(frozen.status().message());
  return std::move(frozen).value();
}

void expect(const std::string& found, std::string_view expected) {
  if (found != expected) fail(fmt::format("the cart has '{}', not '{}'", found, expected));
}

}  // namespace

int wake_elsewhere(const std::string& folder) {
  const auto begin = Clock::now();
  const std::unique_ptr<Runtime> runtime = bench::make_frozen_runtime(Tier::kOptimised);
  const CellHome home = CellHome::open(folder, nullptr).value();
  runtime::OpenCell cell = home.take(*runtime, "alice").value();
  const std::string answer = cell.request("eggs").value().output;
  fmt::print("{} {}", answer, ns_since(begin));
  return 0;
}

void act_six(std::vector<Row>& table) {
  say("Act 6: a JavaScript with a shopping cart is a cell: it sleeps, is forked, and wakes in another "
      "process.");
  const test::TemporaryFolder folder;
  const std::unique_ptr<Runtime> runtime = bench::make_frozen_runtime(Tier::kOptimised);
  const runtime::FrozenProgram frozen = freeze_cart(*runtime, folder);
  const program::Program& cart = *frozen.program;
  cell::Cells& cells = *runtime->cells();
  const auto kind = cart.cell_kind(cells).value();
  const auto put = [&](std::string_view name, std::string_view item) {
    return cart.request_in(cells, name, item).value().output;
  };
  if (!cells.create(kind, "alice").ok()) fail("create");
  put("alice", "apples");
  expect(put("alice", "bread"), "apples, bread");
  if (!cells.sleep("alice").ok()) fail("sleep");
  const uint64_t bytes = cells.describe("alice").value().delta_bytes;
  const auto memory = static_cast<double>(cart.facts().memory_bytes);
  say(fmt::format("  alice sleeps in {} bytes, of {:.1f} MB of memory", bytes, memory / 1e6));

  const auto begin = Clock::now();
  if (!cells.fork("alice", "bob").ok()) fail("fork");
  const double fork_ns = ns_since(begin);
  expect(put("bob", "wine"), "apples, bread, wine");
  expect(put("alice", "milk"), "apples, bread, milk");
  say(fmt::format("  forked in {}: bob has \"apples, bread, wine\", alice \"apples, bread, milk\"",
                  duration(fork_ns)));
  std::vector<double> wakes;
  for (int i = 0; i < 1'000; i++) {
    if (!cells.sleep("alice").ok()) fail("sleep");
    const auto asleep = Clock::now();
    if (!cells.wake("alice").ok()) fail("wake");
    wakes.push_back(static_cast<double>(ns_since(asleep)));
  }
  const double wake_ns = bench::figure_of("", std::move(wakes)).p50_ns;

  const std::filesystem::path home_folder = folder.path() / "cells";
  const std::filesystem::path image = folder.path() / "cart.spore";
  if (!cart.save(image, frozen.source).ok()) fail("saving the image");
  const CellHome home = CellHome::open(home_folder, nullptr).value();
  const auto contents = snapshot::read(image).value();
  const std::vector<uint8_t> state = cells.state("alice").value().delta;
  if (!home.create("alice", home.keep_image(contents).value(), cell::decode_delta(state).value()).ok()) {
    fail("saving alice");
  }
  const test::ProcessResult other = test::run_process(
      {std::filesystem::read_symlink("/proc/self/exe").native(), "--wake", home_folder.native()});
  constexpr std::string_view kAll = "apples, bread, milk, eggs";
  if (other.exit_code != 0 || !other.out.starts_with(kAll)) fail(other.out + other.err);
  const double elsewhere_ns = std::stod(other.out.substr(kAll.size()));
  say(fmt::format(
      "  another process wakes her from a file of {} bytes and an image, and asks for eggs: \"{}\"",
      home.read("alice").value().file_bytes, kAll));
  say(fmt::format("  that took {} there; here she wakes in {}", duration(elsewhere_ns), duration(wake_ns)));
  table.push_back({"wake a sleeping JavaScript", duration(wake_ns), duration(elsewhere_ns),
                   fmt::format("{:.0f}x", elsewhere_ns / wake_ns), "./dev bench cells"});
}

}  // namespace spore::demo
