// Any bytes as a snapshot, or as one section of a good one, with all hashes right: refused, or taken; and
// what is taken is written so that it is read as the same again.

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "spore/engine/engine.h"
#include "spore/snapshot/delta_file.h"
#include "spore/snapshot/errors.h"
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

// As the first byte of an input has them; what comes behind them are whole files.
constexpr std::array kSections{Section::kManifest, Section::kState,  Section::kPageIndex, Section::kModule,
                               Section::kSource,   Section::kPages,  Section::kProfile,   Section::kExports,
                               Section::kPresets,  Section::kHotSet, Section::kDelta};
constexpr uint64_t kBytesMax = uint64_t{1} << 24;

// One image and one that is derived from it, in one form.
struct Pair {
  std::vector<uint8_t> base;
  std::vector<uint8_t> derived;
  Contents below;  // the base, as it was read
};

struct Fuzzer {
  const std::filesystem::path folder = test::new_folder();
  const std::vector<uint8_t> source = engine::text_to_wasm(kGuest).value();
  Pair first = pair([](const Contents& contents) { return test::bytes_of_version_1(contents); });
  Pair wire = pair([this](const Contents& contents) { return written(contents, test::kUncompressed); });
  Pair mapped = pair([this](const Contents& contents) {
    return written(contents, {.form = Form::kMapped, .compression = Compression::kNone, .progress = {}});
  });
  std::vector<uint8_t> delta;

  Fuzzer() {
    DeltaFile file{.cell = "cell",
                   .domain = "tests",
                   .sequence = 4,
                   .base_sequence = 3,
                   .parent = wire.below.id,
                   .base = wire.below.id,
                   .memory_bytes = 65536,
                   .dirty_pages = 2,
                   .delta = std::vector<uint8_t>(300, 7)};
    SPORE_ASSERT(write_delta(file, folder / "delta", test::kUncompressed).ok(), "a delta");
    delta = read_file(folder / "delta", kBytesMax).value();
  }
  ~Fuzzer() { std::filesystem::remove_all(folder); }
  Fuzzer(const Fuzzer&) = delete;
  Fuzzer& operator=(const Fuzzer&) = delete;

  std::vector<uint8_t> written(const Contents& contents, const WriteOptions& options) const {
    return test::written_bytes(contents, folder / "again", options).value();
  }

  template <typename Make>
  Pair pair(const Make& make) const {
    std::vector<std::byte> memory(65536);
    memory[5] = memory[40'000] = std::byte{1};
    for (size_t at = 8 * 4096; at < size_t{12} * 4096; at += 64) memory[at] = std::byte{2};
    Pair made;
    made.base = make(test::contents_without_engine(source, {memory}));
    made.below = test::read_bytes(made.base).value();
    memory[5] = std::byte{3};
    Contents above = test::contents_without_engine(source, {});
    above.image.memories.push_back(memory::PageImage::create(memory, made.below.image.memories[0]).value());
    above.base = made.below.id;
    above.manifest.base_file = "base";
    above.profile = code::Profile{.tier = engine::Tier::kOptimised,
                                  .functions = {{.name = "grow", .calls = 9, .mean_us = 1.5}}};
    made.derived = make(above);
    return made;
  }

  // All are offered the base that they name, if it is one of ours.
  Result<Contents> read_bytes(std::span<const uint8_t> bytes, Validation validation) const {
    const UniqueFd fd = test::file_of(bytes);
    const Contents* below = &wire.below;
    if (bytes.size() >= kSuperblockBytes) {
      const Digest parent = test::get<Digest>(bytes, test::kParentAt);
      for (const Pair* pair : {&first, &mapped}) {
        if (parent == pair->below.id) below = &pair->below;
      }
    }
    Result<Contents> contents =
        read(fd.get(), {.validation = validation,
                        .file_bytes_max = kBytesMax,
                        .memory_bytes_max = kBytesMax,
                        .base = below,
                        .proved = {},
                        .verified = {},
                        .find_module =
                            [this](const Digest&, const Digest&) {
                              return std::make_shared<const std::vector<uint8_t>>(source);
                            },
                        .progress = {}});
    SPORE_ASSERT(contents.ok() || error_info(contents.status()) != nullptr, "an error without its facts");
    return contents;
  }

  // As the contents of `contents` are, and as they are proved or not, in each form.
  void expect_same(const Contents& contents, bool proved) const {
    for (const WriteOptions& options :
         {test::kUncompressed, WriteOptions::local(), WriteOptions{.level = 1, .progress = {}}}) {
      const std::vector<uint8_t> once = written(contents, options);
      const Contents again = read_bytes(once, Validation::kChecksum).value();
      SPORE_ASSERT(again.prepared->wasm == contents.prepared->wasm && *again.source == *contents.source,
                   "another module");
      SPORE_ASSERT(written(again, options) == once, "other bytes");
      SPORE_ASSERT(read_bytes(once, Validation::kFull).ok() == proved, "another proof");
    }
  }

  void take(const std::vector<uint8_t>& bytes) const {
    const Result<Contents> contents = read_bytes(bytes, Validation::kChecksum);
    const bool proved = read_bytes(bytes, Validation::kFull).ok();
    SPORE_ASSERT(contents.ok() || !proved, "what is not taken cannot be proved");
    if (contents.ok()) expect_same(contents.value(), proved);
    take_delta(bytes);
  }

  void take_delta(const std::vector<uint8_t>& bytes) const {
    const Result<DeltaFile> found = read_delta(test::file_of(bytes).get(), {.file_bytes_max = kBytesMax});
    if (!found.ok()) {
      SPORE_ASSERT(error_info(found.status()) != nullptr, "an error without its facts");
      return;
    }
    for (const Compression compression : {Compression::kNone, Compression::kLz4}) {
      const Result<DeltaFile> once =
          write_delta(found.value(), folder / "again", {.compression = compression, .progress = {}});
      SPORE_ASSERT(once.ok(), once.status().message());
      const Result<DeltaFile> again = read_delta(folder / "again");
      SPORE_ASSERT(again.ok() && again->id == once->id && again->delta == found->delta, "another delta");
    }
  }

  // Bytes as what is stored of a section that is compressed: LZ4 or zstd, u32 its raw length, the rest.
  std::vector<uint8_t> compressed(Section section, std::span<const uint8_t> bytes, bool on_base) const {
    constexpr size_t kHead = 5;
    const std::vector<uint8_t>& file = section == Section::kDelta ? delta
                                       : on_base                  ? wire.derived
                                                                  : wire.base;
    if (bytes.size() <= kHead) return file;
    const Superblock superblock = test::superblock_of(file);
    std::vector<test::SectionBytes> sections;
    for (const Extent& extent : superblock.sections) {
      if (extent.section == Section::kHashes) break;
      const std::span<const uint8_t> there = std::span(file).subspan(extent.offset, extent.bytes);
      test::SectionBytes one{.section = extent.section, .bytes = {there.begin(), there.end()}};
      if (extent.section == section) {
        one.codec = bytes[0] % 2 == 0 ? Codec::kZstd : Codec::kLz4;
        one.raw_bytes = test::get<uint32_t>(bytes, 1);
        one.bytes.assign(bytes.begin() + kHead, bytes.end());
      }
      sections.push_back(std::move(one));
    }
    return test::file_with(superblock, sections);
  }
};

}  // namespace
}  // namespace spore::snapshot

// The first byte: in its low four bits which section the others are, or, if there is none of that number,
// that they are the file; kDerived: of the derived file; in two bits of which: version 1, the wire form, the
// mapped form, or the wire form with that section compressed.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace spore::snapshot;
  constexpr uint8_t kDerived = 0x40;
  constexpr uint8_t kForm = 0x30;
  constexpr uint8_t kNumber = 0x0F;
  static const Fuzzer fuzzer;
  if (size == 0) return 0;
  const std::span<const uint8_t> bytes(data + 1, size - 1);
  const size_t number = data[0] & kNumber;
  if (number < kSections.size()) {
    const Section section = kSections[number];
    const bool on_base = (data[0] & kDerived) != 0;
    const uint8_t form = data[0] & kForm;
    if (form == kForm) {
      fuzzer.take(fuzzer.compressed(section, bytes, on_base));
      return 0;
    }
    const Pair& pair = form == 0 ? fuzzer.first : form == 0x10 ? fuzzer.wire : fuzzer.mapped;
    const bool of_delta =
        section == Section::kDelta || (on_base && form == 0x20 && section == Section::kManifest);
    const std::vector<uint8_t>& file = of_delta ? fuzzer.delta : on_base ? pair.derived : pair.base;
    fuzzer.take(spore::test::with_section(file, section, bytes));
    return 0;
  }
  std::vector<uint8_t> file(bytes.begin(), bytes.end());
  fuzzer.take(file);
  spore::test::reseal(file);
  fuzzer.take(file);
  return 0;
}
