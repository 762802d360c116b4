#pragma once

/* Modules from random bytes: tests/smith/src/lib.rs, a shared object of its own. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SPORE_SMITH_ANY = 0, SPORE_SMITH_STEERED = 1 };

typedef struct SporeSmithOptions {
  uint32_t generator;
  uint32_t memory_pages_max;
  uint32_t optimised;
  uint32_t numbers;      /* more floats and vectors */
  uint32_t plain;        /* what Binaryen 108 reads */
  uint32_t fixed_tables; /* none of them grows */
} SporeSmithOptions;

/* Writes a module into `module` and gives its length; 0: these bytes make none, or a longer one.
   `counter_global`: the global in which it counts down to its own end; UINT32_MAX: none does. */
size_t spore_smith_make(const SporeSmithOptions* options, const uint8_t* bytes, size_t bytes_size,
                        uint8_t* module, size_t module_size, uint32_t* counter_global);

/* Writes `to` over each instruction of `module` that begins with `from`, which is as long.  False: it is no
   valid module. */
bool spore_smith_replace(uint8_t* module, size_t module_size, const uint8_t* from, const uint8_t* to,
                         size_t size);

#ifdef __cplusplus
}
#endif
