// Pages that are mapped from their file: when, and when not.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spore/snapshot/proofs.h"
#include "tests/snapshot_format.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;
using test::says;

FileIdentity identity_of(const fs::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return FileIdentity::of(fd.get()).value();
}

class MappingTest : public test::SnapshotFormat {
 protected:
  MappingTest() {
    for (size_t page = 0; page < memory_.size() / memory::kPageBytes; page++) {
      if (page % 5 != 2)
        memory_[page * memory::kPageBytes + page % 4096] = static_cast<std::byte>(1 + page % 255);
    }
    contents_ = test::contents_without_engine(source_, {memory_});
    write_image();
  }
  void write_image() {
    EXPECT_TRUE(write(contents_, path_, WriteOptions::local()).ok());
    settle();
  }
  // Until a change of the file would be seen.
  void settle() const {
    while (!identity_of(path_).is_settled()) ::sched_yield();
  }
  void expect_right(const Contents& contents) const {
    const memory::PageImage& image = *contents.image.memories[0];
    const std::vector<std::byte> zeros(memory::kPageBytes);
    for (size_t at = 0; at < memory_.size(); at += memory::kPageBytes) {
      const std::byte* page = image.page(at);
      ASSERT_EQ(std::memcmp(page == nullptr ? zeros.data() : page, memory_.data() + at, memory::kPageBytes),
                0)
          << at;
    }
    EXPECT_FALSE(image.broken());
  }
  // What is read where every file and image is as it was known, and how often that was asked.
  Result<Contents> read_known(const FileIdentity& known) {
    return read(path_, {.validation = Validation::kFull,
                        .proved = [](const Digest&) { return true; },
                        .verified =
                            [&, known](const Digest&, const FileIdentity& file) {
                              asked_++;
                              return file == known;
                            },
                        .find_module = {},
                        .progress = {}});
  }

  const std::vector<uint8_t> source_ = test::wasm("(module (memory (export \"memory\") 32))");
  std::vector<std::byte> memory_ = std::vector<std::byte>(size_t{32} * 65536);
  Contents contents_;
  const fs::path path_ = folder_ / "image";
  int asked_ = 0;
};

TEST_F(MappingTest, PagesOfOurOwnFileAreMapped) {
  const Contents first = read(path_).value();
  EXPECT_TRUE(first.load.mapped);
  EXPECT_EQ(first.image.memories[0]->held_bytes(), 0u);
  EXPECT_EQ(first.image.memories[0]->bytes(), memory_.size());
  expect_right(first);
  ASSERT_TRUE(first.file.has_value());
  EXPECT_EQ(*first.file, identity_of(path_));
  EXPECT_EQ(test::written_bytes(first, folder_ / "again", WriteOptions::local()).value(),
            read_file(path_, size_t{1} << 30).value());
  // Also without a name, and by another process.
  fs::remove(path_);
  expect_right(first);
}

TEST_F(MappingTest, WhatMustNotBeMappedIsCopied) {
  const auto expect_copied = [&](const ReadOptions& options) {
    const Contents copied = read(path_, options).value();
    EXPECT_FALSE(copied.load.mapped);
    EXPECT_GT(copied.image.memories[0]->held_bytes(), 0u);
    expect_right(copied);
  };
  expect_copied({.mapping = false, .progress = {}});
  expect_copied({.validation = Validation::kStructure, .progress = {}});  // nobody compared its hashes
  for (const mode_t mode : {0620, 0602}) {
    ASSERT_EQ(::chmod(path_.c_str(), mode), 0);
    settle();
    expect_copied({.progress = {}});
  }
  ASSERT_EQ(::chmod(path_.c_str(), 0644), 0);
  settle();
  EXPECT_TRUE(read(path_)->load.mapped);
  ASSERT_TRUE(write(contents_, path_, test::kUncompressed).ok());
  settle();
  expect_copied({.progress = {}});  // the wire form
}

// A change in the same tick of the kernel's clock would not be seen: such a file is not known, nor mapped.
TEST_F(MappingTest, AFileThatWasJustWrittenIsNotKnown) {
  const UniqueFd fd = test::file_of(read_file(path_, size_t{1} << 30).value());
  const Result<FileIdentity> identity = FileIdentity::of(fd.get());
  const Contents contents = read(fd.get(), {.progress = {}}).value();
  if (identity->is_settled()) return;  // a slow machine: then it was told at a later time
  EXPECT_FALSE(contents.load.mapped);
  EXPECT_FALSE(contents.file.has_value());
}

// Goal: what was compared once is not compared again, in the file that it was compared in, and in no other.
TEST_F(MappingTest, AKnownFileIsNotComparedAgain) {
  const FileIdentity known = *read(path_)->file;
  const Contents second = read_known(known).value();
  EXPECT_EQ(asked_, 1);
  EXPECT_TRUE(second.load.mapped);
  EXPECT_EQ(second.file, known);
  expect_right(second);
  // One byte is another, and all times but that of the change are set back.
  struct stat before{};
  ASSERT_EQ(::stat(path_.c_str(), &before), 0);
  const Extent pages = test::extent_of(read_file(path_, size_t{1} << 30).value(), Section::kPages);
  const UniqueFd fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
  const uint8_t byte = 0xEE;
  ASSERT_EQ(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(pages.offset + 77)), 1);
  const timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(::futimens(fd.get(), times), 0);
  settle();
  const Result<Contents> changed = read_known(known);
  EXPECT_EQ(asked_, 2);
  EXPECT_EQ(changed.code(), Code::kCorruption);
  EXPECT_TRUE(says(changed.status().message(), "another hash"));
  // A copy of the right file is another file.
  write_image();
  fs::copy_file(path_, folder_ / "copy");
  fs::rename(folder_ / "copy", path_);
  settle();
  EXPECT_NE(identity_of(path_), known);
  expect_right(read_known(known).value());
}

// If the caller says so and it is not true, that is his: the sections that are not pages are compared always.
TEST_F(MappingTest, TheOtherSectionsAreComparedInAKnownFile) {
  const std::vector<uint8_t> bytes = read_file(path_, size_t{1} << 30).value();
  for (const Section section :
       {Section::kManifest, Section::kState, Section::kPageIndex, Section::kExports, Section::kModule}) {
    std::vector<uint8_t> changed = bytes;
    changed[test::extent_of(bytes, section).offset] ^= 1;
    ASSERT_TRUE(write_file(path_, changed).ok());
    settle();
    EXPECT_EQ(read_known(identity_of(path_)).code(), Code::kCorruption) << section_name(section);
  }
}

TEST_F(MappingTest, ProofsTellAFileThatWasVerified) {
  const auto proofs = Proofs::open(folder_ / "proved", folder_ / "key");
  ASSERT_NE(proofs, nullptr);
  const Contents first = read(path_).value();
  EXPECT_FALSE(proofs->has(first.id, *first.file));
  proofs->add(first.id, *first.file);
  EXPECT_TRUE(proofs->has(first.id, *first.file));
  EXPECT_FALSE(proofs->has(first.id)) << "that its module was proved is another matter";
  const auto again = Proofs::open(folder_ / "proved", folder_ / "key");
  EXPECT_TRUE(again->has(first.id, *first.file));
  for (int field = 0; field < 5; field++) {
    FileIdentity other = *first.file;
    if (field == 0) other.device++;
    if (field == 1) other.inode++;
    if (field == 2) other.bytes++;
    if (field == 3) other.modified_ns++;
    if (field == 4) other.changed_ns++;
    EXPECT_FALSE(again->has(first.id, other)) << field;
  }
  EXPECT_FALSE(again->has(contents_.manifest.module, *first.file));
  EXPECT_FALSE(Proofs::open(folder_ / "proved", folder_ / "another key")->has(first.id, *first.file));
}

// What is derived from a mapped base shares the file's pages.
TEST_F(MappingTest, ADerivedImageStandsOnAMappedBase) {
  const Contents base = read(path_).value();
  ASSERT_TRUE(base.load.mapped);
  std::vector<std::byte> memory = memory_;
  memory[100 * memory::kPageBytes + 3] = std::byte{0xAA};
  Contents above = test::contents_without_engine(source_, {});
  above.image.memories.push_back(memory::PageImage::create(memory, base.image.memories[0]).value());
  above.base = base.id;
  for (const WriteOptions& options : {test::kUncompressed, WriteOptions::local()}) {
    ASSERT_TRUE(write(above, folder_ / "derived", options).ok());
    const Contents after = read(folder_ / "derived", {.base = &base}).value();
    EXPECT_FALSE(after.load.mapped);
    EXPECT_LE(after.image.memories[0]->held_bytes(), 16 * memory::kPageBytes);
    EXPECT_EQ(after.image.memories[0]->page(100 * memory::kPageBytes)[3], std::byte{0xAA});
    memory_ = memory;
    expect_right(after);
  }
}

// Goal: a file that is cut short under its image ends nothing, and nothing false is written of it.
TEST_F(MappingTest, OfAFileThatWasCutNothingIsWritten) {
  const Contents contents = read(path_).value();
  ASSERT_TRUE(contents.load.mapped);
  ASSERT_EQ(::truncate(path_.c_str(), 5000), 0);
  const Result<Digest> again = write(contents, folder_ / "again", test::kUncompressed);
  EXPECT_EQ(again.code(), Code::kCorruption) << again.status().message();
  EXPECT_NE(error_info(again.status()), nullptr);
  EXPECT_FALSE(fs::exists(folder_ / "again"));
  EXPECT_EQ(read(path_).code(), Code::kCorruption);
  write_image();
  EXPECT_TRUE(read(path_).ok());
}

// Goal: what one process compared, another maps at once.  Method: the proof of the one is asked by the other.
TEST_F(MappingTest, AnotherProcessMapsWhatThisOneCompared) {
  const auto proofs = Proofs::open(folder_ / "proved", folder_ / "key");
  const Contents first = read(path_).value();
  proofs->add(first.id);
  proofs->add(first.id, *first.file);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto mine = Proofs::open(folder_ / "proved", folder_ / "key");
    const Result<Contents> second = read(
        path_, {.proved = [&](const Digest& id) { return mine->has(id); },
                .verified = [&](const Digest& id, const FileIdentity& file) { return mine->has(id, file); },
                .find_module = {},
                .progress = {}});
    const bool right = second.ok() && second->load.mapped && second->proved && second->file == first.file;
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace spore::snapshot
