#include "bench/dontneed.h"

#include <unistd.h>

#include "bench/by_hand.h"
#include "bench/clean_guest.h"

namespace spore::bench {
namespace {

constexpr size_t kGuardBytes = size_t{32} << 20;
constexpr size_t kCapacityBytes = size_t{4} << 30;
constexpr size_t kMemoryBytes = size_t{kGuestWasmPages} << 16;

uint8_t* get_memory(void* memory, size_t* bytes, size_t* capacity) noexcept {
  *bytes = kMemoryBytes;
  *capacity = kCapacityBytes;
  return static_cast<uint8_t*>(memory);
}

wasmtime_error_t* grow_memory(void* /*memory*/, size_t /*bytes*/) noexcept {
  return wasmtime_error_new("this memory cannot grow");
}

wasmtime_error_t* new_memory(void* memory, const wasm_memorytype_t* /*type*/, size_t minimum,
                             size_t /*maximum*/, size_t /*reserved*/, size_t /*guard*/,
                             wasmtime_linear_memory_t* result) noexcept {
  if (minimum != kMemoryBytes) return wasmtime_error_new("not the guest's memory");
  *result = {.env = memory, .get_memory = get_memory, .grow_memory = grow_memory, .finalizer = nullptr};
  return nullptr;
}

void set_global(wasmtime_context_t* context, const wasmtime_global_t& global, int32_t number) {
  wasmtime_val_t value;
  value.kind = WASMTIME_I32;
  value.of.i32 = number;
  if (wasmtime_global_set(context, &global, &value) != nullptr) fail("global_set");
}

}  // namespace

DontneedInstance::Reservation::Reservation()
    : begin_(::mmap(nullptr, kCapacityBytes + 2 * kGuardBytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
  if (begin_ == MAP_FAILED) fail("reserving 4 GiB");
}

DontneedInstance::Reservation::~Reservation() { ::munmap(begin_, kCapacityBytes + 2 * kGuardBytes); }

uint8_t* DontneedInstance::Reservation::memory() const { return static_cast<uint8_t*>(begin_) + kGuardBytes; }

DontneedInstance::DontneedInstance(const std::vector<uint8_t>& wasm)
    : image_(::memfd_create("image", MFD_CLOEXEC)),
      compiled_(wasm, config()),
      store_(wasmtime_store_new(compiled_.engine.get(), nullptr, nullptr)),
      context_(wasmtime_store_context(store_.get())) {
  if (::ftruncate(image_.get(), kMemoryBytes) != 0) fail("memfd");
  map_image();
  wasmtime_context_set_epoch_deadline(context_, 1);
  wasm_trap_t* trap = nullptr;
  if (wasmtime_instance_new(context_, compiled_.module.get(), nullptr, 0, &instance_, &trap) != nullptr) {
    fail("instance");
  }
  stack_pointer_ = exported(context_, instance_, "sp").of.global;
  calls_ = exported(context_, instance_, "calls").of.global;
  // The image is what Wasmtime wrote: the data.
  if (::pwrite(image_.get(), reservation_.memory(), kMemoryBytes, 0) != ssize_t{kMemoryBytes}) fail("image");
  map_image();
}

wasm_config_t* DontneedInstance::config() {
  wasm_config_t* config = by_hand_config();
  wasmtime_memory_creator_t creator{
      .env = reservation_.memory(), .new_memory = new_memory, .finalizer = nullptr};
  wasmtime_config_host_memory_creator_set(config, &creator);
  wasmtime_config_memory_init_cow_set(config, false);  // it would map over the memory; Wasmtime insists
  return config;
}

void DontneedInstance::map_image() {
  if (::mmap(reservation_.memory(), kMemoryBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
             image_.get(), 0) == MAP_FAILED) {
    fail("mapping the image");
  }
}

wasmtime_func_t DontneedInstance::function(std::string_view name) const {
  return exported(context_, instance_, name).of.func;
}

int32_t DontneedInstance::call(const wasmtime_func_t& function, int32_t arg) {
  const int32_t answer = call_unchecked(context_, function, arg);
  if (::madvise(reservation_.memory(), kMemoryBytes, MADV_DONTNEED) != 0) fail("madvise");
  set_global(context_, stack_pointer_, kGuestStackPointer);
  set_global(context_, calls_, 0);
  return answer;
}

}  // namespace spore::bench
