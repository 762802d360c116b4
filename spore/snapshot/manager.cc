#include "spore/snapshot/manager.h"

#include <chrono>
#include <condition_variable>
#include <map>
#include <optional>
#include <utility>

#include "spore/base/elapsed.h"
#include "spore/base/fd.h"
#include "spore/base/utf8.h"
#include "spore/snapshot/errors.h"
#include "spore/snapshot/file.h"
#include "spore/snapshot/parts.h"

namespace spore::snapshot {

std::string_view load_step_name(LoadStep step) {
  switch (step) {
    case LoadStep::kDelta: return "delta";
    case LoadStep::kBase: return "base";
    case LoadStep::kColdStart: return "cold_start";
  }
  return "?";
}

// What one thread reads and others wait for.  Under the lock.
struct SnapshotManager::Flight {
  bool landed = false;
  Status status;
  Image image;
};

// A forked child abandons it: it has no such threads, and nothing can be destroyed that they wait on.
struct SnapshotManager::Work {
  std::condition_variable changed;
  std::map<FileIdentity, std::shared_ptr<Flight>> flights;
};

// Ends a flight, however it goes.
class SnapshotManager::Landing {
 public:
  Landing(SnapshotManager& manager, const FileIdentity& file, std::shared_ptr<Flight> flight)
      : manager_(manager), file_(file), flight_(std::move(flight)) {}
  ~Landing() {
    if (landed_) return;
    [[maybe_unused]] const Result<Image> none = land(Status::limit_exceeded("no memory is left"));
  }
  Landing(const Landing&) = delete;
  Landing& operator=(const Landing&) = delete;

  // Gives what is to be used: it may be in memory already, from another file.
  Result<Image> land(Result<Image> image) {
    landed_ = true;
    std::vector<Image> gone;
    const MutexLock lock(manager_.mutex_);
    flight_->landed = true;
    if (image.ok()) {
      flight_->image = manager_.cache_.add(image.value());
      gone = manager_.cache_.trim();
    } else {
      flight_->status = explained(std::move(image).status());
    }
    Work& work = manager_.now();
    work.flights.erase(file_);
    work.changed.notify_all();
    if (!flight_->status.ok()) return flight_->status.copy();
    return flight_->image;
  }

 private:
  SnapshotManager& manager_;
  const FileIdentity file_;
  std::shared_ptr<Flight> flight_;
  bool landed_ = false;
};

SnapshotManager::SnapshotManager(ManagerOptions options)
    : options_(std::move(options)), cache_(options_.cache) {}

SnapshotManager::~SnapshotManager() = default;

SnapshotManager::Work& SnapshotManager::now() {
  if (work_ == nullptr) work_ = std::make_unique<Work>();
  return *work_;
}

void SnapshotManager::repair_in_child() SPORE_NO_THREAD_SAFETY_ANALYSIS {
  [[maybe_unused]] const Work* abandoned = work_.release();
}

// --- writing ---------------------------------------------------------------------------------------------

Result<Digest> SnapshotManager::create(const Contents& contents, const std::filesystem::path& path) {
  const auto begin = std::chrono::steady_clock::now();
  Result<Digest> id = write(contents, path, options_.write);
  if (id.ok() && options_.proofs != nullptr) options_.proofs->add(id.value());
  std::error_code ignored;
  const uint64_t bytes = id.ok() ? std::filesystem::file_size(path, ignored) : 0;
  const MutexLock lock(mutex_);
  (id.ok() ? counts_.created : counts_.create_failures)++;
  if (!ignored) counts_.created_bytes += bytes;
  if (id.ok()) counts_.create_ns += ns_since(begin);
  return id;
}

Result<DeltaFile> SnapshotManager::create(DeltaFile delta, const std::filesystem::path& path) {
  const auto begin = std::chrono::steady_clock::now();
  WriteOptions options = options_.write;
  options.form = Form::kWire;
  Result<DeltaFile> written = write_delta(std::move(delta), path, options);
  const MutexLock lock(mutex_);
  (written.ok() ? counts_.created : counts_.create_failures)++;
  if (written.ok()) {
    counts_.created_bytes += kSuperblockBytes + written->packed_bytes;
    counts_.create_ns += ns_since(begin);
  }
  return written;
}

// --- reading images --------------------------------------------------------------------------------------

ReadOptions SnapshotManager::options_for(const Contents* base) const {
  ReadOptions options = options_.read;
  options.base = base;
  if (options_.proofs == nullptr) return options;
  const Proofs* proofs = options_.proofs.get();
  options.proved = [proofs](const Digest& id) { return proofs->has(id); };
  options.verified = [proofs](const Digest& id, const FileIdentity& file) { return proofs->has(id, file); };
  return options;
}

Result<SnapshotManager::Image> SnapshotManager::base_of(int fd, const std::filesystem::path& path,
                                                        const std::filesystem::path& base) {
  const ReadOptions options = options_for(nullptr);
  const std::unique_ptr<SnapshotFile> file = SPORE_TRY(SnapshotFile::open(fd, options));
  if (file->superblock().kind != Kind::kDerived) return Image();
  const std::vector<uint8_t> bytes = SPORE_TRY(file->read(Section::kManifest));
  const Manifest manifest = SPORE_TRY(decode_manifest(bytes, true, file->superblock().version));
  const Digest& wanted = file->superblock().parent;
  const auto missing = [&](std::string_view why) {
    return with_facts(Status::unavailable("this image is derived from image {}, and what is in its place {}",
                                          wanted.hex(), why),
                      {.kind = ErrorKind::kConfiguration, .expected = wanted.hex()});
  };
  std::filesystem::path place = base;
  if (place.empty()) {
    const std::filesystem::path hint = *manifest.base_file;
    if (hint.empty() || hint.is_absolute()) return missing("is not told by the image");
    place = path.parent_path() / hint;
  }
  // The place is the file's word: nothing but its id is looked at before that is right.  A file that names
  // itself has another id than it names, and so has each of two that name each other: so no flight waits for
  // itself.
  const Result<RegularFile> below = open_file(place, options);
  if (!below.ok()) return missing(fmt::format("cannot be read: {}", below.status().message()));
  const Result<std::unique_ptr<SnapshotFile>> opened = SnapshotFile::open(below.value().fd.get(), options);
  if (!opened.ok()) return missing(fmt::format("cannot be read: {}", opened.status().message()));
  const SnapshotFile* there = opened.value().get();
  if (there->superblock().id != wanted) return missing("is not that image");
  if (there->superblock().kind == Kind::kDerived) {
    return with_facts(Status::unsupported("this image is derived from one that is derived itself"),
                      {.kind = ErrorKind::kValidation});
  }
  return image_of(place, {}, nullptr);
}

Result<SnapshotManager::Image> SnapshotManager::read_image(int fd, const std::filesystem::path& path,
                                                           const std::filesystem::path& base) {
  const Image below = SPORE_TRY(base_of(fd, path, base));
  Contents contents = SPORE_TRY(read(fd, options_for(below.get())));
  const Proofs* proofs = options_.proofs.get();
  if (proofs != nullptr && contents.proved && !proofs->has(contents.id)) proofs->add(contents.id);
  if (proofs != nullptr && contents.file && !proofs->has(contents.id, *contents.file)) {
    proofs->add(contents.id, *contents.file);
  }
  {
    const LoadStatistics& load = contents.load;
    const MutexLock lock(mutex_);
    counts_.mapped += load.mapped ? 1 : 0;
    counts_.read_ns += load.load_ns;
    counts_.decompress_ns += load.decompress_ns;
    counts_.validate_ns += load.validate_ns;
    counts_.map_ns += load.map_ns;
    counts_.initialise_ns += load.initialise_ns;
    counts_.stored_bytes += load.stored_bytes;
    counts_.raw_bytes += load.raw_bytes;
  }
  return std::make_shared<const Contents>(std::move(contents));
}

// Waits by a condition variable, which the analysis cannot follow.
Result<SnapshotManager::Image> SnapshotManager::wait_for(const Flight& flight)
    SPORE_NO_THREAD_SAFETY_ANALYSIS {
  std::unique_lock<std::mutex> lock(mutex_.native());
  now().changed.wait(lock, [&] { return flight.landed; });
  if (!flight.status.ok()) return flight.status.copy();
  return flight.image;
}

Result<SnapshotManager::Image> SnapshotManager::image_of(const std::filesystem::path& path,
                                                         const std::filesystem::path& base,
                                                         LoadStatistics* told) {
  const auto begin = std::chrono::steady_clock::now();
  const RegularFile file = SPORE_TRY(open_file(path, options_.read));
  const FileIdentity identity = SPORE_TRY(FileIdentity::of(file.fd.get()));
  std::vector<Image> gone;
  Image image;
  std::shared_ptr<Flight> flight;
  bool first = false;
  {
    const MutexLock lock(mutex_);
    counts_.loads++;
    gone = cache_.trim();
    image = cache_.find(identity);
    if (image != nullptr) {
      counts_.hits++;
    } else {
      std::shared_ptr<Flight>& there = now().flights[identity];
      first = there == nullptr;
      if (first) there = std::make_shared<Flight>();
      flight = there;
      (first ? counts_.reads : counts_.waits)++;
    }
  }
  const bool from_cache = image != nullptr;
  if (!from_cache) {
    Result<Image> read = first ? Landing(*this, identity, flight).land(read_image(file.fd.get(), path, base))
                               : wait_for(*flight);
    if (!read.ok()) {
      const MutexLock lock(mutex_);
      if (first) counts_.read_failures++;
      return at_path(std::move(read).status(), path);
    }
    image = std::move(read).value();
  }
  if (told != nullptr) {
    *told = image->load;
    told->from_cache = from_cache;
    if (from_cache) told->load_ns = ns_since(begin);
  }
  return image;
}

// --- step by step ----------------------------------------------------------------------------------------

Result<std::vector<DeltaFile>> SnapshotManager::deltas_of(const LoadRequest& request, const Contents& image) {
  SPORE_TRY(check_chain_length(request.deltas.size()));
  std::vector<DeltaFile> deltas;
  for (const std::filesystem::path& path : request.deltas) {
    deltas.push_back(SPORE_TRY(read_delta(path, options_for(nullptr))));
    const MutexLock lock(mutex_);
    counts_.delta_reads++;
  }
  SPORE_TRY(check_chain(image.id, deltas));
  const DeltaFile& first = deltas.front();
  if (first.module != image.manifest.module || first.domain != image.manifest.domain) {
    return with_facts(
        Status::corruption("the chain is of another module or trust domain than its image"),
        {.kind = ErrorKind::kValidation,
         .expected = fmt::format("module {}, domain '{}'", image.manifest.module.hex(),
                                 printable(image.manifest.domain)),
         .found = fmt::format("module {}, domain '{}'", first.module.hex(), printable(first.domain))});
  }
  if (request.check_deltas) SPORE_TRY(request.check_deltas(image, deltas));
  return deltas;
}

void SnapshotManager::count_step(Loaded& loaded, LoadStep step, Status cause) {
  {
    const MutexLock lock(mutex_);
    ManagerCounts::Step& counts = counts_.steps[static_cast<size_t>(step)];
    (cause.ok() ? counts.succeeded : counts.failed)++;
  }
  loaded.step = step;
  if (cause.ok()) return;
  options_.log.write(LogLevel::kWarning, "loading a snapshot: step {} failed: {}", load_step_name(step),
                     cause.message());
  loaded.failed.push_back({.step = step, .cause = std::move(cause)});
}

Result<Loaded> SnapshotManager::start_cold(const LoadRequest& request, Loaded loaded, Status cause) {
  if (!request.cold_start) return cause;
  const auto begin = std::chrono::steady_clock::now();
  Result<Contents> made = request.cold_start();
  if (!made.ok()) {
    count_step(loaded, LoadStep::kColdStart, made.status().copy());
    return std::move(made).status().with_context("after the snapshot could not be read, a cold start");
  }
  count_step(loaded, LoadStep::kColdStart, {});
  loaded.contents = std::make_shared<const Contents>(std::move(made).value());
  loaded.statistics.load_ns = ns_since(begin);
  return loaded;
}

Result<Loaded> SnapshotManager::load(const LoadRequest& request) {
  Loaded loaded;
  Result<Image> image = image_of(request.image, request.base, &loaded.statistics);
  if (!image.ok()) {
    if (!request.deltas.empty()) count_step(loaded, LoadStep::kDelta, image.status().copy());
    count_step(loaded, LoadStep::kBase, image.status().copy());
    return start_cold(request, std::move(loaded), std::move(image).status());
  }
  loaded.contents = std::move(image).value();
  if (!request.deltas.empty()) {
    Result<std::vector<DeltaFile>> deltas = deltas_of(request, *loaded.contents);
    count_step(loaded, LoadStep::kDelta, deltas.ok() ? Status() : deltas.status().copy());
    if (deltas.ok()) {
      loaded.deltas = std::move(deltas).value();
      return loaded;
    }
  }
  count_step(loaded, LoadStep::kBase, {});
  return loaded;
}

// --- the rest --------------------------------------------------------------------------------------------

Result<SnapshotManager::Verified> SnapshotManager::verify(const std::filesystem::path& path,
                                                          const std::filesystem::path& base) {
  const auto look = [&]() -> Result<Verified> {
    const RegularFile file = SPORE_TRY(open_file(path, options_.read));
    ReadOptions options = options_.read;
    options.validation = Validation::kFull;
    options.proved = {};
    options.verified = {};
    options.mapping = false;
    options.base = nullptr;
    const std::unique_ptr<SnapshotFile> opened = SPORE_TRY(SnapshotFile::open(file.fd.get(), options));
    if (opened->superblock().kind == Kind::kDelta) {
      const DeltaFile delta = SPORE_TRY(read_delta(file.fd.get(), options));
      return Verified{.id = delta.id, .is_delta = true, .statistics = {}};
    }
    const Image below = SPORE_TRY(base_of(file.fd.get(), path, base));
    options.base = below.get();
    const Contents contents = SPORE_TRY(read(file.fd.get(), options));
    return Verified{.id = contents.id, .is_delta = false, .statistics = contents.load};
  };
  Result<Verified> verified = look();
  const MutexLock lock(mutex_);
  (verified.ok() ? counts_.verified : counts_.verify_failures)++;
  if (!verified.ok()) return at_path(std::move(verified).status(), path);
  return verified;
}

void SnapshotManager::clear() {
  std::vector<Image> gone;
  const MutexLock lock(mutex_);
  gone = cache_.clear();
}

void SnapshotManager::trim() {
  std::vector<Image> gone;
  const MutexLock lock(mutex_);
  gone = cache_.trim();
}

ManagerStatistics SnapshotManager::statistics() const {
  const MutexLock lock(mutex_);
  return {.counts = counts_,
          .cache = cache_.counts(),
          .images = cache_.images(),
          .bytes = cache_.bytes(),
          .bytes_max = cache_.options().bytes_max,
          .eviction = code::eviction_name(cache_.options().eviction)};
}

void ManagerStatistics::write_json(JsonWriter& json) const {
  json.begin_object();
  json.field("created", counts.created).field("created_bytes", counts.created_bytes);
  json.field("create_ns", counts.create_ns).field("create_failures", counts.create_failures);
  json.field("loads", counts.loads).field("hits", counts.hits).field("waits", counts.waits);
  json.field("reads", counts.reads).field("read_failures", counts.read_failures);
  json.field("mapped", counts.mapped).field("read_ns", counts.read_ns);
  json.field("decompress_ns", counts.decompress_ns).field("validate_ns", counts.validate_ns);
  json.field("map_ns", counts.map_ns).field("initialise_ns", counts.initialise_ns);
  json.field("stored_bytes", counts.stored_bytes).field("raw_bytes", counts.raw_bytes);
  json.field("delta_reads", counts.delta_reads);
  json.field("verified", counts.verified).field("verify_failures", counts.verify_failures);
  json.begin_object("steps");
  for (size_t i = 0; i < kLoadSteps; i++) {
    json.begin_object(load_step_name(static_cast<LoadStep>(i)));
    json.field("succeeded", counts.steps[i].succeeded).field("failed", counts.steps[i].failed).end_object();
  }
  json.end_object();
  json.begin_object("cache").field("bytes", bytes).field("bytes_max", bytes_max).field("eviction", eviction);
  json.field("evicted", cache.evicted).field("evicted_bytes", cache.evicted_bytes);
  json.field("expired", cache.expired).field("cleared", cache.cleared).begin_array("images");
  for (const ImageCache::Held& image : images) {
    json.begin_object().field("id", image.id.hex()).field("name", image.name).field("bytes", image.bytes);
    json.field("uses", image.uses).field("idle_ms", image.idle_ms).field("held", image.held).end_object();
  }
  json.end_array().end_object().end_object();
}

void ManagerStatistics::write_metrics(MetricsWriter& metrics) const {
  metrics.counter("spore_snapshot_created_total", "Files written.").sample(counts.created);
  metrics.counter("spore_snapshot_created_bytes_total", "Bytes of these.").sample(counts.created_bytes);
  metrics.counter("spore_snapshot_create_seconds_total", "Time of writing them.")
      .sample(seconds_of_ns(counts.create_ns));
  metrics.counter("spore_snapshot_create_failures_total", "Files that were not written.")
      .sample(counts.create_failures);
  metrics.counter("spore_snapshot_loads_total", "Images that were asked for, by where they came from.")
      .sample({{"from", "memory"}}, counts.hits)
      .sample({{"from", "another_thread"}}, counts.waits)
      .sample({{"from", "file"}}, counts.reads);
  metrics.counter("spore_snapshot_read_failures_total", "Images that could not be read.")
      .sample(counts.read_failures);
  metrics.counter("spore_snapshot_mapped_total", "Images whose pages are mapped from their file.")
      .sample(counts.mapped);
  metrics.counter("spore_snapshot_read_seconds_total", "Time of reading images.")
      .sample(seconds_of_ns(counts.read_ns));
  metrics.counter("spore_snapshot_stored_bytes_total", "Bytes of images that were read, as they are stored.")
      .sample(counts.stored_bytes);
  metrics.counter("spore_snapshot_raw_bytes_total", "The same, decompressed.").sample(counts.raw_bytes);
  metrics.counter("spore_snapshot_steps_total", "What loading came to, step by step.");
  for (size_t i = 0; i < kLoadSteps; i++) {
    const std::string_view step = load_step_name(static_cast<LoadStep>(i));
    metrics.sample({{"step", step}, {"outcome", "succeeded"}}, counts.steps[i].succeeded);
    metrics.sample({{"step", step}, {"outcome", "failed"}}, counts.steps[i].failed);
  }
  metrics.gauge("spore_snapshot_cache_bytes", "Bytes of images that are kept in memory.").sample(bytes);
  metrics.gauge("spore_snapshot_cache_images", "Images that are kept.").sample(images.size());
  metrics.counter("spore_snapshot_cache_gone_total", "Images that were let go, by cause.")
      .sample({{"cause", "evicted"}}, cache.evicted)
      .sample({{"cause", "expired"}}, cache.expired)
      .sample({{"cause", "cleared"}}, cache.cleared);
}

}  // namespace spore::snapshot
