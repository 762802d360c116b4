// What the cache keeps of modules beside their code.

#include <gtest/gtest.h>

#include "tests/cache_fixture.h"

namespace spore::code {
namespace {

namespace fs = std::filesystem;

class FactsTest : public CacheFixture {
 protected:
  fs::path file_of(const Digest& name) const { return directory() / code_file_name(name); }

  const std::vector<uint8_t> wasm_ = module_of(1);
  const std::vector<uint8_t> facts_{1, 2, 3, 4, 5, 6, 7};
};

TEST_F(FactsTest, ComeBackUnderTheNameOfTheirModule) {
  const auto cache = open();
  const Digest name = cache->name_of(wasm_).value();
  EXPECT_FALSE(cache->load_facts(name).has_value());
  EXPECT_TRUE(cache->store_facts(name, sha256(wasm_), facts_));
  EXPECT_EQ(cache->load_facts(name), facts_);
  // Another process of this user finds them under the same name.
  const auto other = open();
  EXPECT_EQ(other->name_of(wasm_), name);
  EXPECT_EQ(other->load_facts(name), facts_);
}

TEST_F(FactsTest, NamesAreOfAllBytesAndOfTheKey) {
  const auto cache = open();
  const Digest name = cache->name_of(wasm_).value();
  std::vector<uint8_t> bytes = wasm_;
  for (size_t i = 0; i < bytes.size(); i++) {
    bytes[i] ^= 1;
    EXPECT_NE(cache->name_of(bytes), name) << i;
    bytes[i] ^= 1;
  }
  bytes.push_back(0);  // zeros at the end count, too
  EXPECT_NE(cache->name_of(bytes), name);
  fs::remove(key_file());
  EXPECT_NE(open()->name_of(wasm_), name);
}

TEST_F(FactsTest, EveryFlippedByteIsRefused) {
  const auto cache = open();
  const Digest name = cache->name_of(wasm_).value();
  ASSERT_TRUE(cache->store_facts(name, sha256(wasm_), facts_));
  const std::vector<uint8_t> good = read(file_of(name));
  std::vector<uint8_t> bad = good;
  for (size_t i = 0; i < good.size(); i++) {
    bad[i] ^= static_cast<uint8_t>(1U << (i % 8));
    write(file_of(name), bad);
    ASSERT_FALSE(cache->load_facts(name).has_value()) << "byte " << i;
    bad[i] = good[i];
  }
  for (size_t length = 0; length < good.size(); length++) {
    write(file_of(name), std::span(good).first(length));
    ASSERT_FALSE(cache->load_facts(name).has_value()) << length;
  }
  write(file_of(name), good);
  EXPECT_EQ(cache->load_facts(name), facts_);
}

// One file in the other's place carries a MAC of ours: it is refused for its name, or for what made it.
TEST_F(FactsTest, CodeIsNoFactsAndFactsAreNoCode) {
  const auto cache = open();
  const Made made = make(1);
  constexpr uint64_t kCompileNs = 1000;
  ASSERT_TRUE(cache->store(*engine_, made.source, made.compiled, kCompileNs));
  const Digest name = cache->name_of(made.wasm).value();
  ASSERT_TRUE(cache->store_facts(name, made.source.hash, facts_));
  const Digest key = cache_key(*engine_, made.source);
  EXPECT_FALSE(cache->load_facts(key).has_value());
  ASSERT_TRUE(cache->store(*engine_, made.source, made.compiled, kCompileNs));  // what is refused is removed
  fs::copy_file(CacheFixture::file_of(made.source), file_of(name), fs::copy_options::overwrite_existing);
  EXPECT_FALSE(cache->load_facts(name).has_value());
  ASSERT_TRUE(cache->store_facts(key, made.source.hash, facts_));
  EXPECT_FALSE(cache->load(*engine_, made.source));
}

// Modules that were made of others are kept alike, told apart by what made them.
TEST_F(FactsTest, RewrittenModulesAreKeptUnderWhatMadeThem) {
  const auto cache = open();
  const Digest name = sha256(facts_);
  constexpr uint64_t kNs = 1000;
  EXPECT_FALSE(cache->load_module(name, "a tool 1").has_value());
  EXPECT_TRUE(cache->store_module(name, sha256(wasm_), "a tool 1", wasm_, kNs));
  EXPECT_EQ(cache->load_module(name, "a tool 1"), wasm_);
  EXPECT_TRUE(lines().empty());
  const CacheDirectory files = CacheDirectory::open(directory(), false).value();
  const std::vector<CacheEntry> entries = files.entries().value();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].header->kind(), "rewritten");
  EXPECT_EQ(entries[0].header->compile_ns, kNs);
  EXPECT_EQ(entries[0].header->module_hash, sha256(wasm_));
  // Another tool's is refused, and so is one that is taken for facts; what is refused is removed.
  EXPECT_FALSE(cache->load_module(name, "a tool 2").has_value());
  EXPECT_FALSE(cache->load_module(name, "a tool 1").has_value());
  EXPECT_TRUE(cache->store_module(name, sha256(wasm_), "a tool 1", wasm_, kNs));
  EXPECT_FALSE(cache->load_facts(name).has_value());
  EXPECT_EQ(cache->statistics().faults_of(CacheFault::kEngine), 2u);
}

TEST_F(FactsTest, TooLargeAModuleIsNotKept) {
  CodeCacheOptions small = options();
  small.bytes_max = 100;
  const auto cache = CodeCache::open(small);
  EXPECT_FALSE(cache->store_module(sha256(facts_), sha256(wasm_), "a tool", std::vector<uint8_t>(100), 1));
  expect_fault(*cache, CacheFault::kTooLarge);
}

TEST_F(FactsTest, WithoutAKeyThereAreNone) {
  fs::create_directories(home());
  fs::permissions(home(), fs::perms::owner_all);
  write(key_file(), std::vector<uint8_t>{1});
  const auto cache = open();
  EXPECT_FALSE(cache->name_of(wasm_).has_value());
  EXPECT_FALSE(cache->load_facts(sha256(wasm_)).has_value());
  EXPECT_FALSE(cache->store_facts(sha256(wasm_), sha256(wasm_), facts_));
}

}  // namespace
}  // namespace spore::code
