#pragma once

// A peer of the clean call: one instance over a memory of the host's own, and after each call every page that
// was written is dropped with MADV_DONTNEED, so that the next access finds the image again.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "bench/fresh.h"
#include "spore/base/fd.h"

namespace spore::bench {

// For modules of clean_guest().  Bound to a thread; its memory cannot grow.
class DontneedInstance {
 public:
  explicit DontneedInstance(const std::vector<uint8_t>& wasm);

  wasmtime_func_t function(std::string_view name) const;
  // One unchecked call, and the reset.
  int32_t call(const wasmtime_func_t& function, int32_t arg);

 private:
  // A guard, 4 GiB that the memory lies at the start of, a guard.
  class Reservation {
   public:
    Reservation();
    ~Reservation();
    Reservation(const Reservation&) = delete;
    Reservation& operator=(const Reservation&) = delete;
    uint8_t* memory() const;

   private:
    void* begin_;
  };

  wasm_config_t* config();
  void map_image();

  UniqueFd image_;
  Reservation reservation_;
  CompiledByHand compiled_;
  engine::StoreHandle store_;
  wasmtime_context_t* context_;
  wasmtime_instance_t instance_{};
  wasmtime_global_t stack_pointer_{};
  wasmtime_global_t calls_{};
};

}  // namespace spore::bench
