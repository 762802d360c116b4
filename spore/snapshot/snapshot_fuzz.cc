// Any bytes as a snapshot, or as one section of a good one, with all hashes right: refused, or taken; and
// what is taken is written so that it is read as the same again.

#include <algorithm>
#include <cstdint>

#include "spore/engine/engine.h"
#include "tests/snapshot_file.h"

namespace spore::snapshot {
namespace {

constexpr std::string_view kGuest = R"((module
  (memory (export "memory") 1 2)
  (table $t 2 4 funcref)
  (global (mut i32) (i32.const 1))
  (global (mut f64) (f64.const 2))
  (data $passive "passive, and long enough to be a piece of its own, of which there is to be more than one")
  (elem declare func $f)
  (func $f (table.set $t (i32.const 0) (ref.func $f)) (data.drop $passive))
  (func (export "grow") (drop (table.grow $t (ref.null func) (i32.const 1))))))";

struct Fuzzer {
  const std::filesystem::path folder = test::new_folder();
  std::vector<uint8_t> base;
  Contents below;                // the base, as it was read
  std::vector<uint8_t> derived;  // from it

  Fuzzer() {
    std::vector<std::byte> memory(65536);
    memory[5] = memory[40'000] = std::byte{1};
    for (size_t at = 8 * 4096; at < size_t{12} * 4096; at += 64) memory[at] = std::byte{2};
    const std::vector<uint8_t> source = engine::text_to_wasm(kGuest).value();
    base = test::written_bytes(test::contents_without_engine(source, {memory}), folder / "base").value();
    below = test::read_bytes(base).value();
    memory[5] = std::byte{3};
    Contents above = test::contents_without_engine(source, {});
    above.image.memories.push_back(memory::PageImage::create(memory, below.image.memories[0]).value());
    above.base = below.id;
    above.manifest.base_file = "base";
    above.profile = code::Profile{.tier = engine::Tier::kOptimised,
                                  .functions = {{.name = "grow", .calls = 9, .mean_us = 1.5}}};
    derived = test::written_bytes(above, folder / "derived").value();
  }
  ~Fuzzer() { std::filesystem::remove_all(folder); }
  Fuzzer(const Fuzzer&) = delete;
  Fuzzer& operator=(const Fuzzer&) = delete;

  // All are offered the base; those that are not derived from it do not look.
  Result<Contents> read_bytes(std::span<const uint8_t> bytes, Validation validation) const {
    const UniqueFd fd = test::file_of(bytes);
    return read(fd.get(), {.validation = validation, .memory_bytes_max = uint64_t{1} << 24, .base = &below});
  }

  // As the contents of `first` are, and as they are proved or not.
  void expect_same(const Contents& first, bool proved) const {
    const std::vector<uint8_t> written = test::written_bytes(first, folder / "again").value();
    const Contents second = read_bytes(written, Validation::kChecksum).value();
    SPORE_ASSERT(second.prepared->wasm == first.prepared->wasm && *second.source == *first.source,
                 "another module");
    SPORE_ASSERT(test::written_bytes(second, folder / "again").value() == written, "other bytes");
    SPORE_ASSERT(read_bytes(written, Validation::kFull).ok() == proved, "another proof");
  }

  void take(const std::vector<uint8_t>& bytes) const {
    const Result<Contents> contents = read_bytes(bytes, Validation::kChecksum);
    const bool proved = read_bytes(bytes, Validation::kFull).ok();
    SPORE_ASSERT(contents.ok() || !proved, "what is not taken cannot be proved");
    if (contents.ok()) expect_same(contents.value(), proved);
  }
};

}  // namespace
}  // namespace spore::snapshot

// The first byte: which section the others are, of the derived file if kDerived is added to it; or, if there
// is none of that number, that they are the file.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using spore::snapshot::Section;
  constexpr uint8_t kDerived = 0x40;
  static const spore::snapshot::Fuzzer fuzzer;
  if (size == 0) return 0;
  const std::span<const uint8_t> bytes(data + 1, size - 1);
  const uint8_t number = data[0] & static_cast<uint8_t>(~kDerived);
  if (number < static_cast<uint8_t>(Section::kHashes)) {
    const bool on_base = (data[0] & kDerived) != 0;
    fuzzer.take(spore::test::with_section(on_base ? fuzzer.derived : fuzzer.base,
                                          static_cast<Section>(number), bytes));
    return 0;
  }
  std::vector<uint8_t> file(bytes.begin(), bytes.end());
  fuzzer.take(file);
  spore::test::reseal(file);
  fuzzer.take(file);
  return 0;
}
