// Clocks.

#include "check.h"
#include "raw.h"

static const uint64_t kSecond = 1000000000;

static uint64_t now(__wasi_clockid_t id) {
  __wasi_timestamp_t time = 0;
  OK(__wasi_clock_time_get(id, 0, &time));
  return time;
}

static void resolutions(void) {
  for (__wasi_clockid_t id = 0; id < 4; id++) {
    __wasi_timestamp_t resolution = 0;
    OK(__wasi_clock_res_get(id, &resolution));
    CHECK(resolution > 0 && resolution <= kSecond);
  }
}

static void realtime(void) {
  CHECK(now(__WASI_CLOCKID_REALTIME) > 1700000000 * kSecond);  // 2023
  CHECK(now(__WASI_CLOCKID_REALTIME) < 7000000000 * kSecond);  // 2191
}

static void monotonic(void) {
  uint64_t last = now(__WASI_CLOCKID_MONOTONIC);
  const uint64_t first = last;
  for (int i = 0; i < 1000; i++) {
    const uint64_t time = now(__WASI_CLOCKID_MONOTONIC);
    CHECK(time >= last);
    last = time;
  }
  CHECK(last > first);
}

// Any precision will do, also one that no clock has.
static void precisions(void) {
  __wasi_timestamp_t time = 0;
  for (__wasi_clockid_t id = 0; id < 4; id++) {
    OK(__wasi_clock_time_get(id, 1, &time));
    OK(__wasi_clock_time_get(id, UINT64_MAX, &time));
  }
}

// The clocks of the processor go on while the guest computes.
static void processor(void) {
  for (__wasi_clockid_t id = 2; id < 4; id++) {
    const uint64_t begin = now(id);
    volatile uint32_t sum = 0;
    uint64_t end = begin;
    for (int round = 0; round < 10000 && end == begin; round++) {
      for (uint32_t i = 0; i < 10000; i++) sum += i;
      end = now(id);
    }
    CHECK(end > begin);
  }
}

static void unknown(void) {
  __wasi_timestamp_t time = 77;
  const __wasi_clockid_t ids[] = {4, 5, 0x7fffffff, 0x80000000, 0xffffffff};
  for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
    GIVES(__wasi_clock_res_get(ids[i], &time), INVAL);
    GIVES(__wasi_clock_time_get(ids[i], 0, &time), INVAL);
  }
  CHECK(time == 77);
}

static void pointers(void) {
  const uint32_t end = memory_end();
  GIVES(raw_clock_res_get(0, end), FAULT);
  GIVES(raw_clock_res_get(0, end - 7), FAULT);
  GIVES(raw_clock_res_get(1, 0xffffffff), FAULT);
  GIVES(raw_clock_time_get(0, 0, end), FAULT);
  GIVES(raw_clock_time_get(1, 0, end - 7), FAULT);
  GIVES(raw_clock_time_get(1, 0, 0xfffffff9), FAULT);
  OK(raw_clock_time_get(1, 0, end - 8));
}

CASES_MAIN(CASE(resolutions), CASE(realtime), CASE(monotonic), CASE(precisions), CASE(processor),
           CASE(unknown), CASE(pointers))
