// Ends of programs, random numbers, sockets that are none.

#include "check.h"
#include "raw.h"

// --- ends -----------------------------------------------------------------------------------------------

// Run with the code as argument.
static void exit_with(void) {
  CHECK(case_arguments_count == 1);
  printf("not lost");
  fflush(stdout);
  __wasi_proc_exit((uint32_t)strtoul(case_arguments[0], NULL, 0));
}
static void exit_of_libc(void) {
  printf("flushed");
  exit(7);
}
static void do_abort(void) { abort(); }
static void unreachable(void) { __builtin_trap(); }

// Nothing runs behind proc_exit, also when it was called deep inside.
__attribute__((noinline)) static void exit_deep(int depth) {
  if (depth == 0) __wasi_proc_exit(5);
  exit_deep(depth - 1);
  fputs("still there\n", stdout);
}
static void exit_from_below(void) { exit_deep(100); }

static void raise(void) {
  for (uint32_t signal = 0; signal < 32; signal++) GIVES(raw_proc_raise(signal), NOSYS, NOTSUP, INVAL);
}

static void yield(void) {
  for (int i = 0; i < 1000; i++) OK(__wasi_sched_yield());
}

static void endless_loop(void) {
  fputs("waiting\n", stderr);
  for (volatile int i = 0;; i++) {
  }
}
static void endless_yield(void) {
  fputs("waiting\n", stderr);
  while (1) OK(__wasi_sched_yield());
}

// --- random numbers -------------------------------------------------------------------------------------

static void random_bytes(void) {
  static uint8_t first[4096];
  static uint8_t second[4096];
  OK(__wasi_random_get(first, sizeof first));
  OK(__wasi_random_get(second, sizeof second));
  CHECK(memcmp(first, second, sizeof first) != 0);
  int counts[256] = {0};
  for (size_t i = 0; i < sizeof first; i++) counts[first[i]]++;
  for (int i = 0; i < 256; i++) CHECK(counts[i] < 100);  // 16 is what to expect
  for (size_t i = 0; i + 8 < sizeof first; i += 8) CHECK(memcmp(first + i, first + i + 8, 8) != 0);

  uint8_t bytes[8];
  memset(bytes, 0xee, sizeof bytes);
  OK(__wasi_random_get(bytes, 0));
  CHECK(bytes[0] == 0xee);
  OK(__wasi_random_get(bytes + 1, 3));
  CHECK(bytes[0] == 0xee && bytes[4] == 0xee);
  static uint8_t large[3 << 20];
  OK(__wasi_random_get(large, sizeof large));
  size_t zeros = 0;
  for (size_t i = 0; i < sizeof large; i++) zeros += large[i] == 0;
  CHECK(zeros < sizeof large / 200);
}
static void print_random(void) {
  uint64_t number = 0;
  OK(__wasi_random_get((uint8_t*)&number, 8));
  printf("%llx\n", (unsigned long long)number);
}

// --- sockets --------------------------------------------------------------------------------------------

static void sockets(void) {
  const int file = open_new("file");
  uint8_t bytes[8];
  const __wasi_iovec_t in = {bytes, 8};
  const __wasi_ciovec_t out = {bytes, 8};
  __wasi_size_t done;
  __wasi_roflags_t flags;
  int accepted;
  const int closed[] = {NOT_OPEN, -1, INT32_MAX};
  for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++) {
    GIVES(__wasi_sock_accept(closed[i], 0, &accepted), BADF);
    GIVES(__wasi_sock_recv(closed[i], &in, 1, 0, &done, &flags), BADF);
    GIVES(__wasi_sock_send(closed[i], &out, 1, 0, &done), BADF);
    GIVES(__wasi_sock_shutdown(closed[i], 1), BADF);
  }
  const int open[] = {STDIN, STDOUT, STDERR, RW, RO, file};
  for (size_t i = 0; i < sizeof open / sizeof open[0]; i++) {
    GIVES(__wasi_sock_accept(open[i], 0, &accepted), NOTSOCK);
    GIVES(__wasi_sock_recv(open[i], &in, 1, 0, &done, &flags), NOTSOCK);
    GIVES(__wasi_sock_send(open[i], &out, 1, 0, &done), NOTSOCK);
    GIVES(__wasi_sock_shutdown(open[i], 1), NOTSOCK);
  }
}

CASES_MAIN(CASE(exit_with), CASE(exit_of_libc), CASE(do_abort), CASE(unreachable), CASE(exit_from_below),
           CASE(raise), CASE(yield), CASE(endless_loop), CASE(endless_yield), CASE(random_bytes),
           CASE(print_random), CASE(sockets))
