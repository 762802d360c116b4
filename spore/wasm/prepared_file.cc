// Facts of a prepared module, version 2: field by field, as in docs/formats/prepared.md.
#include "spore/wasm/prepared_file.h"

#include <string>
#include <utility>

#include "spore/base/bytes.h"

namespace spore::wasm {
namespace {

constexpr uint32_t kMagic = 0x50435053;      // "SPCP"
constexpr uint32_t kCountMax = 1'000'000;    // of anything: no module has more
constexpr uint32_t kTextBytesMax = 1 << 20;  // names have at most 100,000

// One description of the format for both directions.  Each `field` writes, or reads into, what it is given.
class Encoder {
 public:
  void field(uint8_t value) { writer_.u8(value); }
  void field(bool value) { writer_.u8(value ? 1 : 0); }
  void field(uint32_t value) { writer_.u32(value); }
  void field(uint64_t value) { writer_.u64(value); }
  void field(const std::string& text) { writer_.text(text); }
  template <size_t kSize>
  void field(const std::array<uint8_t, kSize>& bytes) {
    for (const uint8_t byte : bytes) writer_.u8(byte);
  }
  template <typename T, typename Each>
  void list(const std::vector<T>& all, size_t /*bytes_min*/, const Each& each) {
    writer_.u32(static_cast<uint32_t>(all.size()));
    for (const T& one : all) each(one);
  }
  template <typename T>
  void option(const std::optional<T>& value) {
    field(value.has_value());
    if (value) field(*value);
  }
  std::vector<uint8_t> take() { return writer_.take(); }

 private:
  ByteWriter writer_;
};

class Decoder {
 public:
  Decoder(std::span<const uint8_t> bytes, std::span<const uint8_t> original)
      : reader_(bytes), original_(original) {}

  void field(uint8_t& value) { value = reader_.u8(); }
  void field(bool& value) {
    const uint8_t byte = reader_.u8();
    if (byte > 1) reader_.fail("a flag that is neither 0 nor 1");
    value = byte == 1;
  }
  void field(uint32_t& value) { value = reader_.u32(); }
  void field(uint64_t& value) { value = reader_.u64(); }
  void field(std::string& text) { text = reader_.text(kTextBytesMax); }
  template <size_t kSize>
  void field(std::array<uint8_t, kSize>& bytes) {
    for (uint8_t& byte : bytes) byte = reader_.u8();
  }
  template <typename T, typename Each>
  void list(std::vector<T>& all, size_t bytes_min, const Each& each) {
    all.resize(reader_.count(kCountMax, bytes_min));
    for (T& one : all) each(one);
  }
  template <typename T>
  void option(std::optional<T>& value) {
    bool there = false;
    field(there);
    if (there) field(value.emplace());
  }
  ByteReader& reader() { return reader_; }
  std::span<const uint8_t> original() const { return original_; }

 private:
  ByteReader reader_;
  std::span<const uint8_t> original_;
};

// Lengths are the least that an element takes up.
constexpr size_t kTwoTexts = 8;

template <typename Coder, typename Facts>
void code_facts(Coder& coder, Facts& facts) {
  coder.field(facts.hash.bytes);
  coder.field(facts.module_bytes);
  coder.field(facts.proposals);
  coder.field(facts.has_start);
  for (auto* count :
       {&facts.functions, &facts.functions_imported, &facts.tables, &facts.memories, &facts.globals,
        &facts.globals_mutable, &facts.data_segments, &facts.element_segments}) {
    coder.field(*count);
  }
  for (auto* count : {&facts.code_bytes, &facts.data_bytes, &facts.custom_bytes, &facts.body_bytes_max}) {
    coder.field(*count);
  }
  coder.list(facts.imports, kTwoTexts + 4, [&](auto& import) {
    coder.field(import.module);
    coder.field(import.name);
    coder.field(import.type);
  });
  coder.list(facts.exports, kTwoTexts, [&](auto& exported) {
    coder.field(exported.name);
    coder.field(exported.type);
  });
  coder.list(facts.memory_types, 4, [&](auto& type) { coder.field(type); });
  coder.list(facts.custom_sections, 12, [&](auto& section) {
    coder.field(section.name);
    coder.field(section.bytes);
  });
}

// Bytes of the original, as a place in it.
void code_data(Encoder& coder, const PreparedModule::Data& data) {
  coder.field(data.file_offset);
  coder.field(uint64_t{data.bytes.size()});
}
void code_data(Decoder& coder, PreparedModule::Data& data) {
  uint64_t length = 0;
  coder.field(data.file_offset);
  coder.field(length);
  const std::span<const uint8_t> original = coder.original();
  if (data.file_offset > original.size() || length > original.size() - data.file_offset) {
    coder.reader().fail("data that is not in the module");
    return;
  }
  const auto bytes = original.subspan(data.file_offset, length);
  data.bytes.assign(bytes.begin(), bytes.end());
}

// A kind of global, as a byte.
void code_kind(Encoder& coder, PreparedModule::GlobalKind kind) { coder.field(static_cast<uint8_t>(kind)); }
void code_kind(Decoder& coder, PreparedModule::GlobalKind& kind) {
  uint8_t byte = 0;
  coder.field(byte);
  if (byte > static_cast<uint8_t>(PreparedModule::GlobalKind::kReference)) {
    coder.reader().fail("a global of no kind");
    return;
  }
  kind = static_cast<PreparedModule::GlobalKind>(byte);
}

void code_asyncify(Encoder& coder, const std::optional<PreparedModule::Asyncify>& asyncify) {
  coder.field(asyncify.has_value());
  if (!asyncify) return;
  coder.field(asyncify->state_global);
  coder.field(asyncify->data_global);
}
void code_asyncify(Decoder& coder, std::optional<PreparedModule::Asyncify>& asyncify) {
  bool there = false;
  coder.field(there);
  if (!there) return;
  asyncify = PreparedModule::Asyncify{};
  coder.field(asyncify->state_global);
  coder.field(asyncify->data_global);
}

template <typename Coder, typename Module>
void code_module(Coder& coder, Module& module) {
  code_facts(coder, module.facts);
  coder.list(module.memories, 15, [&](auto& memory) {
    coder.field(memory.index);
    coder.field(memory.is_64);
    coder.field(memory.shared);
    coder.field(memory.page_bytes);
    coder.field(memory.pages_min);
    coder.option(memory.pages_max);
  });
  coder.list(module.tables, 17, [&](auto& table) {
    coder.field(table.index);
    coder.field(table.is_64);
    coder.field(table.changes);
    coder.field(table.written);
    coder.field(table.grows);
    coder.field(table.elements_min);
    coder.option(table.elements_max);
  });
  coder.list(module.globals, 6, [&](auto& global) {
    coder.field(global.index);
    code_kind(coder, global.kind);
    coder.option(global.initial);
  });
  coder.list(module.data_flags, 4, [&](auto& segment) { coder.field(segment); });
  coder.list(module.element_flags, 4, [&](auto& segment) { coder.field(segment); });
  coder.field(module.has_memory_grow);
  code_asyncify(coder, module.asyncify);
  coder.list(module.table_functions, 4, [&](auto& function) { coder.field(function); });
  coder.list(module.lifted, 28, [&](auto& data) {
    coder.field(data.memory);
    coder.field(data.offset);
    code_data(coder, data);
  });
  coder.field(module.not_lifted);
  coder.field(module.functions_rewritten);
  coder.field(module.functions_added);
  coder.list(module.reset_reasons, 4, [&](auto& reason) { coder.field(reason); });
}

}  // namespace

std::vector<uint8_t> encode_prepared(const PreparedModule& prepared) {
  Encoder encoder;
  encoder.field(kMagic);
  encoder.field(kPreparedFileVersion);
  encoder.field(kPreparerVersion);
  code_module(encoder, prepared);
  return encoder.take();
}

Result<PreparedModule> decode_prepared(std::span<const uint8_t> bytes, std::span<const uint8_t> original) {
  Decoder decoder(bytes, original);
  uint32_t magic = 0;
  uint32_t version = 0;
  uint32_t preparer = 0;
  decoder.field(magic);
  decoder.field(version);
  decoder.field(preparer);
  if (magic != kMagic)
    return Status::corruption("not the facts of a prepared module: wrong magic at offset 0");
  if (version != kPreparedFileVersion || preparer != kPreparerVersion) {
    return Status::unsupported("facts of version {} by preparer {}, this build has {} and {}", version,
                               preparer, kPreparedFileVersion, kPreparerVersion);
  }
  PreparedModule prepared;
  code_module(decoder, prepared);
  decoder.reader().finish();
  SPORE_TRY(std::move(decoder.reader()).status());
  return prepared;
}

}  // namespace spore::wasm
