#include "spore/memory/dirty_tracker.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace spore::memory {
namespace {

using Again = WriteProtector::Again;

constexpr std::array<std::byte, kPageBytes> kZeroPage{};

}  // namespace

std::string_view tracking_kind_name(TrackingKind kind) {
  switch (kind) {
    case TrackingKind::kAuto: return "auto";
    case TrackingKind::kWriteProtect: return "write_protect";
    case TrackingKind::kCompare: return "compare";
  }
  return "?";
}

// --- a set of pages --------------------------------------------------------------------------------------

void PageSet::resize(size_t pages) {
  SPORE_ASSERT(pages >= pages_, "a set that is made smaller would keep bits");
  words_.resize((pages + 63) / 64);
  pages_ = pages;
}

void PageSet::add(size_t first, size_t pages) {
  SPORE_ASSERT(first <= pages_ && pages <= pages_ - first, "outside of the memory");
  for (size_t page = first; page < first + pages;) {
    const size_t bit = page % 64;
    const size_t here = std::min(64 - bit, first + pages - page);
    words_[page / 64] |= (here == 64 ? ~uint64_t{0} : (uint64_t{1} << here) - 1) << bit;
    page += here;
  }
}

void PageSet::clear() { std::ranges::fill(words_, 0); }

size_t PageSet::count() const {
  size_t count = 0;
  for (const uint64_t word : words_) count += static_cast<size_t>(std::popcount(word));
  return count;
}

std::vector<PageRun> PageSet::runs() const {
  std::vector<PageRun> runs;
  for (size_t i = 0; i < words_.size(); i++) {
    for (uint64_t word = words_[i]; word != 0;) {
      const auto bit = static_cast<size_t>(std::countr_zero(word));
      const auto length = static_cast<size_t>(std::countr_one(word >> bit));
      append_run(runs, (i * 64 + bit) * kPageBytes, length * kPageBytes);
      word = bit + length == 64 ? 0 : word >> (bit + length) << (bit + length);
    }
  }
  return runs;
}

// --- points ----------------------------------------------------------------------------------------------

DirtyTracker::DirtyTracker(TrackingOptions options) : options_(std::move(options)) {}

Status DirtyTracker::start(std::byte* base, size_t bytes, std::shared_ptr<const PageImage> image) {
  SPORE_ASSERT(!is_tracking(), "it tracks another memory");
  SPORE_ASSERT(base != nullptr && bytes % kPageBytes == 0, "whole pages are tracked");
  dirty_ = {};
  dirty_.resize(bytes / kPageBytes);
  image_ = std::move(image);
  base_ = base;
  Status begun = begin();
  if (!begun.ok()) {
    base_ = nullptr;
    image_ = nullptr;
    return begun;
  }
  sequence_ = 1;
  return {};
}

Status DirtyTracker::begin() {
  if (options_.kind != TrackingKind::kCompare) {
    Status armed = arm_first();
    const bool compare_instead = options_.kind == TrackingKind::kAuto && armed.code() != Code::kAlreadyExists;
    if (armed.ok() || !compare_instead) return armed;
  }
  kind_ = TrackingKind::kCompare;
  compare(Again::kYes);  // with the image: what differs is copied
  dirty_.clear();
  return {};
}

Status DirtyTracker::arm_first() {
  if (options_.protector == nullptr) {
    return Status::unavailable("this system does not tell us which pages of a memory are written");
  }
  // Of two that watch the same page, each would take away what the other waits for.
  if (SPORE_TRY(options_.protector->is_armed(base_, bytes()))) {
    return Status::already_exists("the memory is tracked already");
  }
  SPORE_TRY(options_.protector->arm(base_, bytes()));
  kind_ = TrackingKind::kWriteProtect;
  armed_bytes_ = bytes();
  return {};
}

void DirtyTracker::stop() {
  if (!is_tracking()) return;
  if (kind_ == TrackingKind::kWriteProtect) options_.protector->disarm(base_, bytes());
  base_ = nullptr;
  image_ = nullptr;
  armed_bytes_ = 0;
  dirty_ = {};
  copies_.clear();
}

void DirtyTracker::grow(size_t bytes) {
  if (!is_tracking()) return;
  SPORE_ASSERT(bytes % kPageBytes == 0, "a memory grows by whole pages");
  const size_t before = dirty_.pages();
  dirty_.resize(bytes / kPageBytes);
  dirty_.add(before, dirty_.pages() - before);
}

void DirtyTracker::mark_range(size_t offset, size_t bytes) {
  if (!is_tracking() || offset >= this->bytes()) return;
  bytes = std::min(bytes, this->bytes() - offset);
  if (bytes == 0) return;
  const size_t first = offset / kPageBytes;
  dirty_.add(first, (offset + bytes - 1) / kPageBytes + 1 - first);
}

Status DirtyTracker::look(Again again) {
  if (!is_tracking()) return Status::unavailable("the memory is not tracked");
  if (kind_ == TrackingKind::kWriteProtect) return look_at_protection(again);
  compare(again);
  return {};
}

Status DirtyTracker::look_at_protection(Again again) {
  const WriteProtector& protector = *options_.protector;
  // What grew is dirty all of it, so that writes before it is armed are not missed.
  if (armed_bytes_ < bytes()) {
    SPORE_TRY(protector.arm(base_ + armed_bytes_, bytes() - armed_bytes_));
    armed_bytes_ = bytes();
  }
  runs_.clear();
  const Status told = protector.written(base_, bytes(), again, runs_);
  if (told.ok()) {
    for (const PageRun& run : runs_) dirty_.add(run.offset / kPageBytes, run.bytes / kPageBytes);
    return {};
  }
  // Some of it was mapped anew, as BusGuard does; or this is a child, of whose copy the kernel arms nothing;
  // or it armed pages again without telling which.
  dirty_.add(0, dirty_.pages());
  armed_bytes_ = 0;
  SPORE_TRY(protector.arm(base_, bytes()));
  armed_bytes_ = bytes();
  return {};
}

// --- comparing -------------------------------------------------------------------------------------------

const std::byte* DirtyTracker::was(size_t page) const {
  const auto copy = copies_.find(page);
  if (copy != copies_.end()) return copy->second->data();
  const std::byte* clean = image_ == nullptr ? nullptr : image_->page(page * kPageBytes);
  return clean == nullptr ? kZeroPage.data() : clean;
}

// A page that is not private is as the image has it: it changed only if a copy says that it was not.
void DirtyTracker::compare(Again again) {
  PageSet looked_at;
  looked_at.resize(dirty_.pages());
  runs_.clear();
  const size_t mapped = image_ == nullptr ? 0 : image_->mapped_bytes();
  if (options_.scanner != nullptr && options_.scanner->private_pages(base_, bytes(), mapped, runs_).ok()) {
    for (const PageRun& run : runs_) looked_at.add(run.offset / kPageBytes, run.bytes / kPageBytes);
    for (const auto& [page, copy] : copies_) looked_at.add(page, 1);
  } else {
    looked_at.add(0, looked_at.pages());
  }
  for (const PageRun& run : looked_at.runs()) {
    for (size_t offset = run.offset; offset < run.offset + run.bytes; offset += kPageBytes) {
      compare_page(offset / kPageBytes, again);
    }
  }
}

void DirtyTracker::compare_page(size_t page, Again again) {
  const std::byte* const now = base_ + page * kPageBytes;
  if (std::memcmp(now, was(page), kPageBytes) == 0) return;
  dirty_.add(page, 1);
  if (again == Again::kNo) return;
  copies_.erase(page);
  if (std::memcmp(now, was(page), kPageBytes) == 0) return;  // it is as the image has it
  auto copy = std::make_unique<PageCopy>();
  std::memcpy(copy->data(), now, kPageBytes);
  copies_.emplace(page, std::move(copy));
}

// --- what is dirty ---------------------------------------------------------------------------------------

Result<bool> DirtyTracker::is_dirty(size_t page) {
  SPORE_ASSERT(!is_tracking() || page < dirty_.pages(), "outside of the memory");
  if (is_tracking() && dirty_.has(page)) return true;
  SPORE_TRY(look(Again::kNo));
  return dirty_.has(page);
}

Result<size_t> DirtyTracker::dirty_count() {
  SPORE_TRY(look(Again::kNo));
  return dirty_.count();
}

Result<std::vector<PageRun>> DirtyTracker::dirty_runs() {
  SPORE_TRY(look(Again::kNo));
  return dirty_.runs();
}

Result<std::vector<PageRun>> DirtyTracker::take() {
  SPORE_TRY(look(Again::kYes));
  std::vector<PageRun> runs = dirty_.runs();
  dirty_.clear();
  sequence_++;
  return runs;
}

void DirtyTracker::give_back(std::span<const PageRun> runs) {
  for (const PageRun& run : runs) mark_range(run.offset, run.bytes);
}

Status DirtyTracker::clear() {
  SPORE_TRY(take());
  return {};
}

}  // namespace spore::memory
