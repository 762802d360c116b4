// Reads a snapshot.  Byte for byte: docs/formats/snapshot.md.
//
// The file may come from an attacker, and change while it is read.  So every byte that is used was copied out
// of it first, and hashed in the copy; nothing is mapped.  (A mapping would save the copy and could then be
// changed under running instances: by their owner's other processes, or by a full disk's SIGBUS.)  Copying
// and hashing go piece by piece, in one pass, on two threads: a piece is still in the processor's cache when
// it is written to where it stays.
#include "spore/snapshot/reader.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <utility>

#include "spore/base/fd.h"
#include "spore/base/mutex.h"
#include "spore/base/signal_block.h"
#include "spore/base/thread_annotations.h"
#include "spore/base/utf8.h"
#include "spore/snapshot/check.h"
#include "spore/snapshot/format.h"
#include "spore/wasm/prepared_file.h"

namespace spore::snapshot {
namespace {

// Below this a second thread costs more than it saves.
constexpr uint64_t kThreadPieces = 4;
constexpr unsigned kThreadsMax = 4;

std::span<const std::byte> as_bytes(std::span<const uint8_t> bytes) { return std::as_bytes(bytes); }

// An open file whose superblock and hashes belong together.
class SnapshotFile {
 public:
  static Result<SnapshotFile> open(int fd, uint64_t bytes_max) {
    struct stat info{};
    if (::fstat(fd, &info) != 0) return Status::from_errno(errno, "stat");
    if (!S_ISREG(info.st_mode)) return Status::invalid_argument("this is not a regular file");
    const auto bytes = static_cast<uint64_t>(info.st_size);
    if (bytes > bytes_max) {
      return Status::limit_exceeded("{} bytes, at most {} are read (file_bytes_max)", bytes, bytes_max);
    }
    SnapshotFile file(fd);
    std::vector<uint8_t> head(std::min<uint64_t>(bytes, kSuperblockBytes));
    SPORE_TRY(read_at(fd, head, 0));
    file.superblock_ = SPORE_TRY(decode_superblock(head, bytes));
    const Extent& hashes = file.superblock_[Section::kHashes];
    file.hashes_.resize(hashes.bytes);
    SPORE_TRY(read_at(fd, file.hashes_, hashes.offset));
    const Digest id = compute_id(head, file.hashes_);
    if (id != file.superblock_.id) {
      return Status::corruption("superblock and section HASHES are {}, the id says {}", id.hex(),
                                file.superblock_.id.hex());
    }
    SPORE_TRY(file.check_gap());
    return file;
  }

  int fd() const { return fd_; }
  const Superblock& superblock() const { return superblock_; }

  // Reads piece `number` of a section into `bytes`, which has its length, and compares the hash.
  Status read_piece(Section section, uint64_t number, std::span<uint8_t> bytes, bool compare = true) const {
    const uint64_t offset = superblock_[section].offset + number * kPieceBytes;
    SPORE_TRY(read_at(fd_, bytes, offset));
    if (!compare) return {};
    const size_t hash = (first_hash(superblock_, section) + number) * sizeof(Digest::bytes);
    if (std::ranges::equal(sha256(bytes).bytes, std::span(hashes_).subspan(hash, sizeof(Digest::bytes)))) {
      return {};
    }
    return Status::corruption("section {}: bytes {} to {} are not as written: another hash",
                              section_name(section), offset, offset + bytes.size());
  }
  uint64_t piece_bytes(Section section, uint64_t number) const {
    return std::min<uint64_t>(kPieceBytes, superblock_[section].bytes - number * kPieceBytes);
  }

  Result<std::vector<uint8_t>> read_section(Section section) const {
    std::vector<uint8_t> bytes(superblock_[section].bytes);
    for (uint64_t i = 0; i < piece_count(bytes.size()); i++) {
      SPORE_TRY(read_piece(section, i, std::span(bytes).subspan(i * kPieceBytes, piece_bytes(section, i))));
    }
    return bytes;
  }

 private:
  explicit SnapshotFile(int fd) : fd_(fd) {}

  // Before PAGES.
  Status check_gap() const {
    const uint64_t begin = superblock_[Section::kSource].end();
    std::vector<uint8_t> gap(superblock_[Section::kPages].offset - begin);
    SPORE_TRY(read_at(fd_, gap, begin));
    if (std::ranges::all_of(gap, [](uint8_t byte) { return byte == 0; })) return {};
    return Status::corruption("at byte {}: what lies before section PAGES is not 0", begin);
  }

  int fd_;
  Superblock superblock_;
  std::vector<uint8_t> hashes_;
};

// --- pages and source: what is large ---------------------------------------------------------------------

// The pieces of PAGES and SOURCE, for whoever of some threads comes next.
class Copier {
 public:
  Copier(const SnapshotFile& file, bool compare) : file_(file), compare_(compare) {}

  // Before run().  `base`: of a derived image, else null.  kIo; kCorruption: the base has not what is its.
  Status prepare(const PageIndex& index, const Contents* base) {
    source_.resize(file_.superblock()[Section::kSource].bytes);
    for (const MemoryIndex& memory : index) {
      memory::PageImageBuilder::Base below;
      if (base != nullptr) below = SPORE_TRY(base_of(memory, *base));
      builders_.push_back(SPORE_TRY(memory::PageImageBuilder::create(
          memory.pages() * memory::kPageBytes, memory.runs_of(Run::Kind::kRaw), std::move(below))));
      uint64_t page = 0;
      for (const Run& run : memory.runs) {
        if (run.kind == Run::Kind::kRaw)
          targets_.push_back(
              {.at = run.at, .pages = run.pages, .memory = builders_.size() - 1, .page = page});
        page += run.pages;
      }
    }
    source_pieces_ = piece_count(source_.size());
    pieces_ = source_pieces_ + piece_count(file_.superblock()[Section::kPages].bytes);
    return {};
  }

  Status run() {
    {
      std::vector<std::jthread> helpers;
      const uint64_t most = std::min(kThreadsMax, std::thread::hardware_concurrency());
      const uint64_t wanted = std::min<uint64_t>(most, 1 + pieces_ / kThreadPieces);
      for (uint64_t i = 1; i < wanted; i++) helpers.push_back(helper());
      work();
    }
    const MutexLock lock(mutex_);
    return std::move(status_);
  }

  // After run().
  std::vector<uint8_t> take_source() { return std::move(source_); }
  Result<std::vector<std::shared_ptr<const memory::PageImage>>> take_memories() {
    std::vector<std::shared_ptr<const memory::PageImage>> memories;
    for (memory::PageImageBuilder& builder : builders_) {
      memories.push_back(SPORE_TRY(std::move(builder).finish()));
    }
    return memories;
  }

 private:
  // A run of raw pages: where it stands in PAGES, and where it belongs.
  struct Target {
    uint64_t at;
    uint64_t pages;
    size_t memory;
    uint64_t page;
  };

  // What of the next memory is the base's.
  Result<memory::PageImageBuilder::Base> base_of(const MemoryIndex& memory, const Contents& base) const {
    const size_t number = builders_.size();
    if (number >= base.image.memories.size()) {
      return Status::corruption("section PAGEINDEX: more memories than the base has");
    }
    memory::PageImageBuilder::Base below{.image = base.image.memories[number],
                                         .pages = memory.runs_of(Run::Kind::kBase)};
    if (!below.pages.empty() &&
        below.pages.back().offset + below.pages.back().bytes > below.image->mapped_bytes()) {
      return Status::corruption("section PAGEINDEX: pages of the base that it does not have");
    }
    return below;
  }

  // On each thread: takes pieces until none is left.
  void work() {
    std::vector<uint8_t> buffer(std::min<uint64_t>(kPieceBytes, file_.superblock()[Section::kPages].bytes));
    // Relaxed: it gives out numbers, and nothing else is read by them; joining orders what was copied.
    for (uint64_t number = 0; (number = next_.fetch_add(1, std::memory_order_relaxed)) < pieces_;) {
      const Status status =
          number < source_pieces_ ? copy_source(number) : copy_pages(number - source_pieces_, buffer);
      if (!status.ok()) return fail(status);
    }
  }

  Status copy_source(uint64_t number) {
    const std::span<uint8_t> to =
        std::span(source_).subspan(number * kPieceBytes, file_.piece_bytes(Section::kSource, number));
    return file_.read_piece(Section::kSource, number, to, compare_);
  }

  Status copy_pages(uint64_t number, std::span<uint8_t> buffer) const {
    std::span<const uint8_t> bytes = buffer.first(file_.piece_bytes(Section::kPages, number));
    SPORE_TRY(file_.read_piece(Section::kPages, number, buffer.first(bytes.size()), compare_));
    uint64_t at = number * (kPieceBytes / memory::kPageBytes);
    auto target = std::ranges::upper_bound(targets_, at, {}, &Target::at) - 1;
    for (; !bytes.empty(); ++target) {
      const uint64_t skipped = at - target->at;
      const uint64_t pages = std::min<uint64_t>(target->pages - skipped, bytes.size() / memory::kPageBytes);
      SPORE_TRY(builders_[target->memory].write((target->page + skipped) * memory::kPageBytes,
                                                as_bytes(bytes.first(pages * memory::kPageBytes))));
      bytes = bytes.subspan(pages * memory::kPageBytes);
      at += pages;
    }
    return {};
  }

  void fail(const Status& status) {
    next_.store(pieces_, std::memory_order_relaxed);  // the others need not go on
    const MutexLock lock(mutex_);
    if (status_.ok()) status_ = status.copy();
  }

  // A further thread, as long as it lives.
  std::jthread helper() {
    const SignalBlock block;
    try {
      return std::jthread([this] {
        try {
          work();
        } catch (const std::bad_alloc&) {
          fail(Status::limit_exceeded("no memory is left"));
        }
      });
    } catch (const std::system_error&) {
      return {};  // no thread to be had: the others do it all
    }
  }

  const SnapshotFile& file_;
  bool compare_;
  std::vector<uint8_t> source_;  // each piece is written by one thread
  std::vector<memory::PageImageBuilder> builders_;
  std::vector<Target> targets_;  // by `at`
  uint64_t source_pieces_ = 0;
  uint64_t pieces_ = 0;
  std::atomic<uint64_t> next_{0};
  Mutex mutex_;
  Status status_ SPORE_GUARDED_BY(mutex_);  // the first failure
};

// --- the rest ------------------------------------------------------------------------------------------

// What is read of a snapshot before its pages.
struct Parts {
  Manifest manifest;
  State state;
  PageIndex index;
  std::optional<code::Profile> profile;
  ModuleParts module;  // empty in a derived image
};

Result<Parts> read_parts(const SnapshotFile& file, const ReadOptions& options) {
  const Superblock& superblock = file.superblock();
  Parts parts;
  const std::vector<uint8_t> manifest = SPORE_TRY(file.read_section(Section::kManifest));
  const bool derived = superblock.base.has_value();
  parts.manifest = SPORE_TRY(decode_manifest(manifest, derived));
  const std::vector<uint8_t> state = SPORE_TRY(file.read_section(Section::kState));
  parts.state = SPORE_TRY(decode_state(state));
  const std::vector<uint8_t> index = SPORE_TRY(file.read_section(Section::kPageIndex));
  parts.index = SPORE_TRY(decode_page_index(index, superblock[Section::kPages].bytes, derived));
  for (const MemoryIndex& memory : parts.index) {
    if (memory.pages() > options.memory_bytes_max / memory::kPageBytes) {
      return Status::limit_exceeded("a memory of {} pages of 4096 bytes (memory_bytes_max={})",
                                    memory.pages(), options.memory_bytes_max);
    }
  }
  if (superblock.has_profile()) {
    const std::vector<uint8_t> profile = SPORE_TRY(file.read_section(Section::kProfile));
    parts.profile = SPORE_TRY(decode_profile(profile));
  }
  if (derived) return parts;
  const std::vector<uint8_t> module = SPORE_TRY(file.read_section(Section::kModule));
  parts.module = SPORE_TRY(decode_module(module, superblock[Section::kSource].bytes));
  return parts;
}

// The file says what cannot be.
Status corrupt(Status status) {
  if (status.ok() || status.code() == Code::kUnsupported) return status;
  return Status::corruption("{}", status.message());
}

// The image that a derived one names.
Status check_base(const Digest& named, const Manifest& manifest, const Contents* base) {
  if (base == nullptr || base->id != named) {
    return Status::unavailable(
        "this image is derived from image {}{}", named.hex(),
        base == nullptr ? ", which is not given" : fmt::format(", and this one is {}", base->id.hex()));
  }
  if (base->base.has_value()) {
    return Status::unsupported("this image is derived from one that is derived itself");
  }
  const Manifest& below = base->manifest;
  const bool same = below.module == manifest.module && below.prepared == manifest.prepared &&
                    below.preparer == manifest.preparer && below.original == manifest.original &&
                    below.rewriter == manifest.rewriter &&
                    below.rewriter_arguments == manifest.rewriter_arguments &&
                    below.domain == manifest.domain;
  if (same) return {};
  return Status::corruption("section MANIFEST: a derived image is of its base's module and trust domain");
}

// The module of a file that has it.
Status take_module(Contents& contents, const ModuleParts& module, std::vector<uint8_t> source) {
  contents.source = std::make_shared<const std::vector<uint8_t>>(std::move(source));
  Result<wasm::PreparedModule> prepared = wasm::decode_prepared(module.facts, *contents.source);
  if (!prepared.ok()) return std::move(prepared).status().with_context("section MODULE: facts");
  prepared->wasm = join_module(module, *contents.source);
  contents.prepared = std::make_shared<const wasm::PreparedModule>(std::move(prepared).value());
  return {};
}

Result<Contents> read_contents(const SnapshotFile& file, const ReadOptions& options) {
  Parts parts = SPORE_TRY(read_parts(file, options));
  const std::optional<Digest>& base_id = file.superblock().base;
  if (base_id) SPORE_TRY(check_base(*base_id, parts.manifest, options.base));
  Copier copier(file, options.validation != Validation::kStructure);
  SPORE_TRY(copier.prepare(parts.index, base_id ? options.base : nullptr));
  SPORE_TRY(copier.run());

  Contents contents;
  contents.id = file.superblock().id;
  contents.base = base_id;
  contents.manifest = std::move(parts.manifest);
  contents.frames = std::move(parts.state.frames);
  contents.profile = std::move(parts.profile);
  contents.image.values = std::move(parts.state.values);
  contents.image.wasi = std::move(parts.state.wasi);
  contents.image.memories = SPORE_TRY(copier.take_memories());
  if (base_id) {
    contents.source = options.base->source;
    contents.prepared = options.base->prepared;
  } else {
    SPORE_TRY(take_module(contents, parts.module, copier.take_source()));
  }
  SPORE_TRY(corrupt(check_contents(contents)));
  contents.proved = base_id && options.base->proved;
  if (options.validation == Validation::kFull && options.proved && options.proved(contents.id)) {
    contents.proved = true;
  }
  if (options.validation == Validation::kFull && !contents.proved) {
    SPORE_TRY(corrupt(prove_module(contents)));
    contents.proved = true;
  }
  return contents;
}

std::string context(const std::filesystem::path& path) { return fmt::format("'{}'", path.native()); }

}  // namespace

Result<Contents> read(int fd, const ReadOptions& options) {
  const SnapshotFile file = SPORE_TRY(SnapshotFile::open(fd, options.file_bytes_max));
  return read_contents(file, options);
}

Result<Contents> read(const std::filesystem::path& path, const ReadOptions& options) {
  const RegularFile file = SPORE_TRY(open_regular(path, options.file_bytes_max));
  Result<Contents> contents = read(file.fd.get(), options);
  if (!contents.ok()) return std::move(contents).status().with_context(context(path));
  return contents;
}

// --- describing ----------------------------------------------------------------------------------------

namespace {

Result<Description> describe_file(int fd, const ReadOptions& options) {
  const SnapshotFile file = SPORE_TRY(SnapshotFile::open(fd, options.file_bytes_max));
  Parts parts = SPORE_TRY(read_parts(file, options));
  Description description{.id = file.superblock().id,
                          .base = file.superblock().base,
                          .file_bytes = file.superblock().file_bytes(),
                          .manifest = std::move(parts.manifest),
                          .globals = parts.state.values.globals.size(),
                          .prepared_bytes = parts.module.prepared_bytes,
                          .has_frames = parts.state.frames.has_value(),
                          .profile = std::move(parts.profile)};
  for (const Section section : kSections) {
    if (section == Section::kProfile && !file.superblock().has_profile()) continue;
    const Extent& extent = file.superblock()[section];
    description.sections.push_back({std::string(section_name(section)), extent.offset, extent.bytes});
  }
  for (const MemoryIndex& memory : parts.index) {
    description.memories.push_back({.bytes = memory.pages() * memory::kPageBytes,
                                    .raw_bytes = memory.pages(Run::Kind::kRaw) * memory::kPageBytes,
                                    .base_bytes = memory.pages(Run::Kind::kBase) * memory::kPageBytes});
  }
  for (const std::vector<uint32_t>& table : parts.state.values.tables) {
    description.tables.push_back(table.size());
  }
  return description;
}

void world_text(std::string& text, const host::WasiOptions& wasi) {
  const auto line = [&](std::string_view what, std::string_view value) {
    text += fmt::format("  {:<13} {}\n", what, printable(value));
  };
  for (const std::string& arg : wasi.args) line("argument", arg);
  for (const std::string& variable : wasi.env) line("variable", variable);
  for (const host::WasiDirectory& directory : wasi.directories) {
    line("directory",
         fmt::format("{} is {}{}", directory.guest, directory.host, directory.writable ? ", writable" : ""));
  }
}

}  // namespace

Result<Description> describe(const std::filesystem::path& path, const ReadOptions& options) {
  const RegularFile file = SPORE_TRY(open_regular(path, options.file_bytes_max));
  Result<Description> description = describe_file(file.fd.get(), options);
  if (!description.ok()) return std::move(description).status().with_context(context(path));
  return description;
}

std::string Description::text() const {
  std::string text;
  const auto line = [&](std::string_view what, std::string_view value) {
    text += fmt::format("{:<15} {}\n", what, value);
  };
  line("snapshot", fmt::format("version {}, an image of {} bytes", kVersion, file_bytes));
  line("id", id.hex());
  if (base) line("derived from", fmt::format("{}, at {}", base->hex(), printable(*manifest.base_file)));
  line("module", printable(manifest.name));
  line("original", manifest.original.hex());
  if (!manifest.rewriter.empty()) {
    line("rewritten by",
         fmt::format("{} {}", printable(manifest.rewriter), printable(manifest.rewriter_arguments)));
    line("to", manifest.module.hex());
  }
  line("prepared by", base ? fmt::format("preparer {}", manifest.preparer)
                           : fmt::format("preparer {}, to {} bytes", manifest.preparer, prepared_bytes));
  line("made by",
       fmt::format("spore {}, {}", printable(manifest.spore_version), printable(manifest.engine_version)));
  line("made at", fmt::format("{} s since 1970", manifest.created_s));
  line("trust domain", fmt::format("'{}'", printable(manifest.domain)));
  if (!manifest.entry.empty()) line("a request", fmt::format("calls {}", printable(manifest.entry)));
  line("framing", framing_name(manifest.framing));
  if (has_frames) line("state", "in the middle of a call");
  line("random bytes", fmt::format("{} were drawn until then", manifest.entropy_bytes));
  for (const Memory& memory : memories) {
    const std::string of_base =
        base ? fmt::format(", and {} as in that one", memory.base_bytes) : std::string();
    line("memory", fmt::format("{} bytes, {} of them here{}", memory.bytes, memory.raw_bytes, of_base));
  }
  for (const uint64_t elements : tables) line("table", fmt::format("{} elements", elements));
  line("globals", fmt::format("{}", globals));
  line("WASI", manifest.wasi ? "yes" : "no");
  if (manifest.wasi) world_text(text, *manifest.wasi);
  if (profile) {
    line("profile", fmt::format("it was called until it had {} code", engine::tier_name(profile->tier)));
    for (const code::Profile::Function& function : profile->functions) {
      line("  function",
           fmt::format("{}: {} calls, {:.1f} us each", function.name, function.calls, function.mean_us));
    }
  }
  for (const Section& section : sections) {
    line("section", fmt::format("{:<10} {:>12} bytes at {}", section.name, section.bytes, section.offset));
  }
  return text;
}

void Description::write_json(JsonWriter& json) const {
  json.begin_object().field("version", kVersion).field("kind", base ? "derived" : "base");
  json.field("id", id.hex());
  if (base) json.field("base", base->hex()).field("base_file", *manifest.base_file);
  json.field("file_bytes", file_bytes).field("name", manifest.name).field("domain", manifest.domain);
  json.field("created_s", manifest.created_s).field("spore", manifest.spore_version);
  json.field("engine", manifest.engine_version).field("original", manifest.original.hex());
  json.field("rewriter", manifest.rewriter).field("rewriter_arguments", manifest.rewriter_arguments);
  json.field("module", manifest.module.hex()).field("prepared", manifest.prepared.hex());
  json.field("preparer", manifest.preparer).field("prepared_bytes", prepared_bytes);
  json.field("entry", manifest.entry).field("framing", framing_name(manifest.framing));
  json.field("entropy_bytes", manifest.entropy_bytes);
  json.field("in_a_call", has_frames).field("globals", globals);
  json.begin_array("memories");
  for (const Memory& memory : memories) {
    json.begin_object().field("bytes", memory.bytes).field("raw_bytes", memory.raw_bytes);
    json.field("base_bytes", memory.base_bytes).end_object();
  }
  json.end_array().begin_array("tables");
  for (const uint64_t elements : tables) json.element(elements);
  json.end_array();
  if (manifest.wasi) {
    json.begin_object("wasi").begin_array("args");
    for (const std::string& arg : manifest.wasi->args) json.element(arg);
    json.end_array().begin_array("env");
    for (const std::string& variable : manifest.wasi->env) json.element(variable);
    json.end_array().begin_array("directories");
    for (const host::WasiDirectory& directory : manifest.wasi->directories) {
      json.begin_object().field("host", directory.host).field("guest", directory.guest);
      json.field("writable", directory.writable).end_object();
    }
    json.end_array().end_object();
  }
  if (profile) {
    json.begin_object("profile").field("tier", engine::tier_name(profile->tier)).begin_array("functions");
    for (const code::Profile::Function& function : profile->functions) {
      json.begin_object().field("name", function.name).field("calls", function.calls);
      json.field("mean_us", function.mean_us).end_object();
    }
    json.end_array().end_object();
  }
  json.begin_array("sections");
  for (const Section& section : sections) {
    json.begin_object().field("name", section.name).field("offset", section.offset);
    json.field("bytes", section.bytes).end_object();
  }
  json.end_array().end_object();
}

}  // namespace spore::snapshot
