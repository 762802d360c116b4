#include "spore/snapshot/image_cache.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace spore::snapshot {
namespace {

constexpr double kMsInSecond = 1000;
// Of one image; an older one is forgotten, and read again.
constexpr size_t kFilesMax = 16;

bool is_broken(const Contents& contents) {
  return std::ranges::any_of(contents.image.memories, [](const auto& memory) { return memory->broken(); });
}

}  // namespace

uint64_t bytes_held_by(const Contents& contents) {
  uint64_t bytes = sizeof(Contents);
  for (const auto& memory : contents.image.memories) bytes += memory->held_bytes();
  for (const auto& table : contents.image.values.tables) bytes += table.size() * sizeof(uint32_t);
  bytes += contents.image.values.globals.size() * sizeof(engine::Store::GlobalValue);
  if (contents.image.wasi) bytes += contents.image.wasi->size();
  if (contents.frames) bytes += contents.frames->borrowed.size();
  if (contents.base) return bytes;  // whose module it has
  if (contents.source != nullptr) bytes += contents.source->size();
  if (contents.prepared != nullptr) bytes += contents.prepared->wasm.size();
  return bytes;
}

uint64_t ImageCache::now_ms() const {
  if (options_.now_ms) return options_.now_ms();
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

ImageCache::Image ImageCache::find(const FileIdentity& file) {
  const auto known = files_.find(file);
  if (known == files_.end()) return nullptr;
  Entry& entry = entries_.at(known->second);
  Image image = entry.kept != nullptr ? entry.kept : entry.seen.lock();
  if (image == nullptr || is_broken(*image)) return nullptr;
  code::add_use(entry.usage, static_cast<double>(now_ms()) / kMsInSecond);
  if (entry.kept == nullptr) keep(entry, image);
  return image;
}

ImageCache::Image ImageCache::add(const Image& image) {
  Entry& entry = entries_[image->id];
  Image same = entry.kept != nullptr ? entry.kept : entry.seen.lock();
  if (same != nullptr && is_broken(*same)) return image;  // until that one is let go
  if (same == nullptr) {
    const double now = static_cast<double>(now_ms()) / kMsInSecond;
    entry.usage = {.last_s = now, .stored_s = now};
    entry.bytes = bytes_held_by(*image);
    same = image;
  }
  if (image->file) remember(image->id, entry, *image->file);
  if (entry.kept == nullptr) keep(entry, same);
  return same;
}

void ImageCache::keep(Entry& entry, const Image& image) {
  entry.seen = image;
  if (entry.bytes > options_.bytes_max) return;
  entry.kept = image;
  bytes_ += entry.bytes;
}

void ImageCache::let_go(Entry& entry, std::vector<Image>& gone) {
  bytes_ -= entry.bytes;
  gone.push_back(std::exchange(entry.kept, nullptr));
}

void ImageCache::remember(const Digest& id, Entry& entry, const FileIdentity& file) {
  if (!files_.emplace(file, id).second) return;
  entry.files.push_back(file);
  if (entry.files.size() <= kFilesMax) return;
  files_.erase(entry.files.front());
  entry.files.erase(entry.files.begin());
}

std::vector<ImageCache::Image> ImageCache::trim() {
  std::vector<Image> gone;
  expire(gone);
  make_room(gone);
  forget_dead();
  return gone;
}

void ImageCache::expire(std::vector<Image>& gone) {
  const double now = static_cast<double>(now_ms()) / kMsInSecond;
  for (auto& [id, entry] : entries_) {
    if (entry.kept == nullptr) continue;
    // Whoever takes it meanwhile takes it through this cache, under its lock.
    const bool held = entry.kept.use_count() > 1;
    const double idle_ms = (now - entry.usage.last_s) * kMsInSecond;
    const bool idle = !held && idle_ms >= static_cast<double>(options_.max_age_ms);
    const bool old = options_.eviction == code::Eviction::kTtl &&
                     now - entry.usage.stored_s >= static_cast<double>(options_.ttl_s);
    if (!idle && !old) continue;
    counts_.expired++;
    entry.seen.reset();  // what is too old is not found again, whoever holds it
    let_go(entry, gone);
  }
}

void ImageCache::make_room(std::vector<Image>& gone) {
  if (bytes_ <= options_.bytes_max) return;
  std::vector<Entry*> kept;
  std::vector<code::EvictionCandidate> candidates;
  for (auto& [id, entry] : entries_) {
    if (entry.kept == nullptr) continue;
    kept.push_back(&entry);
    candidates.push_back(
        {.usage = entry.usage, .bytes = entry.bytes, .compile_ns = entry.kept->load.load_ns});
  }
  const double now = static_cast<double>(now_ms()) / kMsInSecond;
  for (const size_t place : code::eviction_order(candidates, options_.eviction, now)) {
    if (bytes_ <= options_.bytes_max) return;
    counts_.evicted++;
    counts_.evicted_bytes += kept[place]->bytes;
    let_go(*kept[place], gone);
  }
}

// What nobody holds any more cannot be found again.
void ImageCache::forget_dead() {
  for (auto at = entries_.begin(); at != entries_.end();) {
    if (at->second.kept != nullptr || !at->second.seen.expired()) {
      ++at;
      continue;
    }
    for (const FileIdentity& file : at->second.files) files_.erase(file);
    at = entries_.erase(at);
  }
}

std::vector<ImageCache::Image> ImageCache::clear() {
  std::vector<Image> gone;
  for (auto& [id, entry] : entries_) {
    if (entry.kept == nullptr) continue;
    counts_.cleared++;
    let_go(entry, gone);
  }
  entries_.clear();
  files_.clear();
  return gone;
}

std::vector<ImageCache::Held> ImageCache::images() const {
  std::vector<Held> images;
  const double now = static_cast<double>(now_ms()) / kMsInSecond;
  for (const auto& [id, entry] : entries_) {
    if (entry.kept == nullptr) continue;
    images.push_back({.id = id,
                      .name = entry.kept->manifest.name,
                      .bytes = entry.bytes,
                      .uses = entry.usage.uses,
                      .idle_ms = static_cast<uint64_t>((now - entry.usage.last_s) * kMsInSecond),
                      .held = entry.kept.use_count() > 1});
  }
  return images;
}

}  // namespace spore::snapshot
