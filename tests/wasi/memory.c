// Addresses and lengths that are wrong.  The host's memory lies behind the guest's: nothing may be read or
// written there, and what is wrong is FAULT to the guest.  Random numbers, clocks, arguments and waiting have
// the same in their own files.

#include "check.h"
#include "raw.h"

static uint32_t end;
static uint8_t area[4096];
static uint32_t result;

// Everywhere where `size` bytes do not fit.
#define FAULTS(size, call_with_address)                                                  \
  do {                                                                                   \
    const uint32_t addresses[] = {end,        end + 1,    end - (size) + 1, end + 65536, \
                                  0x80000000, 0xfffffff0, 0xffffffff};                   \
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {                \
      const uint32_t address = addresses[i];                                             \
      GIVES(call_with_address, FAULT);                                                   \
    }                                                                                    \
  } while (0)

static void prepare(void) {
  end = memory_end();
  create_file("file", "abcdef");
  OK(__wasi_path_symlink("file", RW, "link"));
}

static void results(void) {
  prepare();
  const int fd = open_flags("file", 0, 0);
  const __wasi_iovec_t in = {area, 1};
  const __wasi_ciovec_t out = {area, 1};
  FAULTS(24, raw_fd_fdstat_get(fd, address));
  FAULTS(64, raw_fd_filestat_get(fd, address));
  FAULTS(4, raw_fd_pread(fd, at(&in), 1, 0, address));
  FAULTS(4, raw_fd_pwrite(fd, at(&out), 1, 0, address));
  FAULTS(4, raw_fd_read(fd, at(&in), 1, address));
  FAULTS(4, raw_fd_write(fd, at(&out), 1, address));
  FAULTS(8, raw_fd_prestat_get(RW, address));
  FAULTS(3, raw_fd_prestat_dir_name(RW, address, 3));
  FAULTS(8, raw_fd_seek(fd, 0, 0, address));
  FAULTS(8, raw_fd_tell(fd, address));
  FAULTS(4, raw_fd_readdir(RW, at(area), 4096, 0, address));
  FAULTS(4096, raw_fd_readdir(RW, address, 4096, 0, at(&result)));
  FAULTS(64, raw_path_filestat_get(RW, 0, at("file"), 4, address));
  FAULTS(4, raw_path_readlink(RW, at("link"), 4, at(area), 16, address));
  FAULTS(16, raw_path_readlink(RW, at("link"), 4, address, 16, at(&result)));
  FAULTS(16, raw_random_get(address, 16));
  CHECK(has_content("file", "abcdef"));
  CHECK(tell(fd) == 0);
}

// A result that has no place: then nothing was done, and no descriptor is lost.
static void open_without_a_place_for_the_result(void) {
  prepare();
  for (int round = 0; round < 100; round++) {
    FAULTS(4, raw_path_open(RW, 0, at("file"), 4, 0, READ_RIGHTS, 0, 0, address));
    FAULTS(4, raw_path_open(RW, 0, at("new"), 3, O_CREATE, FILE_RIGHTS, 0, 0, address));
  }
  GIVES(try_stat("new", 0), NOENT);
  OK(try_open("file", 0, 0));
}

static void paths(void) {
  prepare();
  FAULTS(4, raw_path_create_directory(RW, address, 4));
  FAULTS(4, raw_path_filestat_get(RW, 0, address, 4, at(area)));
  FAULTS(4, raw_path_filestat_set_times(RW, 0, address, 4, 1, 1, 1));
  FAULTS(4, raw_path_link(RW, 0, address, 4, RW, at("new"), 3));
  FAULTS(4, raw_path_link(RW, 0, at("file"), 4, RW, address, 4));
  FAULTS(4, raw_path_open(RW, 0, address, 4, 0, 0, 0, 0, at(&result)));
  FAULTS(4, raw_path_readlink(RW, address, 4, at(area), 16, at(&result)));
  FAULTS(4, raw_path_remove_directory(RW, address, 4));
  FAULTS(4, raw_path_rename(RW, address, 4, RW, at("new"), 3));
  FAULTS(4, raw_path_rename(RW, at("file"), 4, RW, address, 4));
  FAULTS(4, raw_path_symlink(address, 4, RW, at("new"), 3));
  FAULTS(4, raw_path_symlink(at("file"), 4, RW, address, 4));
  FAULTS(4, raw_path_unlink_file(RW, address, 4));
  GIVES(try_stat("new", 0), NOENT);
  CHECK(has_content("file", "abcdef"));
}

// Lengths that reach beyond the end, or around it.
static void lengths(void) {
  prepare();
  const uint32_t lengths[] = {end, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    const uint32_t length = lengths[i];
    GIVES(raw_random_get(at(area), length), FAULT);
    GIVES(raw_fd_readdir(RW, at(area), length, 0, at(&result)), FAULT);
    GIVES(raw_path_readlink(RW, at("link"), 4, at(area), length, at(&result)), FAULT);
    GIVES(raw_path_open(RW, 0, at("file"), length, 0, 0, 0, 0, at(&result)), FAULT, NAMETOOLONG);
    GIVES(raw_path_unlink_file(RW, at("file"), length), FAULT, NAMETOOLONG);
    GIVES(raw_path_symlink(at("file"), length, RW, at("new"), 3), FAULT, NAMETOOLONG);
    GIVES(raw_fd_prestat_dir_name(RW, at(area), length), SUCCESS, FAULT);  // the name is no longer
  }
  CHECK(has_content("file", "abcdef"));
}

static void buffers(void) {
  prepare();
  const int fd = open_flags("file", 0, 0);
  // The arrays themselves.
  FAULTS(8, raw_fd_read(fd, address, 1, at(&result)));
  FAULTS(8, raw_fd_write(fd, address, 1, at(&result)));
  FAULTS(8, raw_fd_pread(fd, address, 1, 0, at(&result)));
  FAULTS(8, raw_fd_pwrite(fd, address, 1, 0, at(&result)));
  FAULTS(8192, raw_fd_read(fd, address, 1024, at(&result)));
  const uint32_t counts[] = {0x20000000, 0x20000001, 0x7fffffff, 0x80000000,
                             0xffffffff};  // times 8: 0, 8, ...
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    GIVES(raw_fd_read(fd, at(area), counts[i], at(&result)), INVAL, FAULT);
    GIVES(raw_fd_write(fd, at(area), counts[i], at(&result)), INVAL, FAULT);
    GIVES(raw_fd_pread(fd, at(area), counts[i], 0, at(&result)), INVAL, FAULT);
    GIVES(raw_fd_pwrite(fd, at(area), counts[i], 0, at(&result)), INVAL, FAULT);
  }
  // What they point to; the first of the two is good.
  uint32_t pair[4] = {at(area), 4, 0, 0};
  const struct {
    uint32_t address;
    uint32_t length;
  } bad[] = {{end, 1},
             {end - 1, 2},
             {end - 100, 101},
             {0xffffffff, 1},
             {0xfffffff0, 0x20},
             {0, 0xffffffff},
             {1, 0xffffffff},
             {0x80000000, 0x80000000},
             {at(area), 0xffffffff - at(area) + 1}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    pair[2] = bad[i].address;
    pair[3] = bad[i].length;
    GIVES(raw_fd_read(fd, at(pair), 2, at(&result)), FAULT);
    GIVES(raw_fd_pread(fd, at(pair), 2, 0, at(&result)), FAULT);
    GIVES(raw_fd_write(fd, at(pair), 2, at(&result)), FAULT);
    GIVES(raw_fd_pwrite(fd, at(pair), 2, 0, at(&result)), FAULT);
    GIVES(raw_fd_write(STDOUT, at(pair), 2, at(&result)), FAULT);
    GIVES(raw_fd_read(STDIN, at(pair), 2, at(&result)), FAULT);
  }
  CHECK(tell(fd) == 0);
  CHECK(has_content("file", "abcdef"));
}

// The last bytes of memory are memory.
static void up_to_the_end(void) {
  prepare();
  const int fd = open_flags("file", 0, 0);
  __wasi_iovec_t in = {(uint8_t*)(uintptr_t)(end - 6), 6};
  OK(raw_fd_read(fd, at(&in), 1, at(&result)));
  CHECK(result == 6 && memcmp(in.buf, "abcdef", 6) == 0);
  OK(raw_fd_tell(fd, end - 8));
  OK(raw_fd_filestat_get(fd, end - 64));
  OK(raw_random_get(end - 16, 16));
  GIVES(raw_random_get(end, 0), SUCCESS, FAULT);
  memcpy((void*)(uintptr_t)(end - 4), "file", 4);
  OK(raw_path_filestat_get(RW, 0, end - 4, 4, at(area)));
  // What memory grew by can be used at once.
  const uint32_t before = end;
  CHECK(__builtin_wasm_memory_grow(0, 1) != SIZE_MAX);
  OK(raw_random_get(before - 8, 16));
  OK(raw_fd_filestat_get(fd, before - 1));
}

// Lengths whose sum does not fit into 32 bits: refused, or as much as there is.
static void sums(void) {
  prepare();
  static uint8_t large[8 << 20];
  static __wasi_iovec_t in[1024];
  static __wasi_ciovec_t out[1024];
  for (int i = 0; i < 1024; i++) {
    in[i] = (__wasi_iovec_t){large, sizeof large};
    out[i] = (__wasi_ciovec_t){large, sizeof large};
  }
  const int fd = open_flags("file", 0, 0);
  const int error = raw_fd_read(fd, at(in), 1024, at(&result));  // 8 GiB
  GIVES(error, SUCCESS, INVAL);
  if (error == SUCCESS) CHECK(result == 6);
  GIVES(raw_fd_write(fd, at(out), 1024, at(&result)), INVAL);
  CHECK(has_content("file", "abcdef"));
}

// Results over the arguments: the call has read these before it writes those.
static void over_one_another(void) {
  prepare();
  const int fd = open_flags("file", 0, 0);
  union {
    __wasi_iovec_t in;
    uint8_t bytes[16];
    uint32_t result;
  } all;
  all.in = (__wasi_iovec_t){all.bytes, 6};
  OK(raw_fd_read(fd, at(&all), 1, at(all.bytes + 8)));
  CHECK(memcmp(all.bytes, "abcdef", 6) == 0);
  all.in = (__wasi_iovec_t){area, 3};
  OK(raw_fd_pread(fd, at(&all), 1, 0, at(&all)));
  CHECK(all.result == 3);
  static union {
    char path[64];
    __wasi_filestat_t stat;
  } path = {"file"};
  OK(raw_path_filestat_get(RW, 0, at(&path), 4, at(&path)));
  CHECK(path.stat.size == 6);
}

static int all_zero(const uint8_t* bytes, size_t begin, size_t after) {
  for (size_t i = begin; i < after; i++) {
    if (bytes[i] != 0) return 0;
  }
  return 1;
}

// What lies between the members of a result is zero, and not what the host had there.
static void padding(void) {
  prepare();
  const int fd = open_flags("file", 0, 0);
  uint8_t bytes[64];
  memset(bytes, 0xee, sizeof bytes);
  OK(raw_fd_fdstat_get(fd, at(bytes)));
  CHECK(all_zero(bytes, 1, 2) && all_zero(bytes, 4, 8) && bytes[24] == 0xee);
  const int streams[] = {fd, RW, STDIN, STDOUT};
  for (int i = 0; i < 4; i++) {
    memset(bytes, 0xee, sizeof bytes);
    OK(raw_fd_filestat_get(streams[i], at(bytes)));
    CHECK(all_zero(bytes, 17, 24));
  }
  memset(bytes, 0xee, sizeof bytes);
  OK(raw_path_filestat_get(RW, 0, at("file"), 4, at(bytes)));
  CHECK(all_zero(bytes, 17, 24));
  memset(bytes, 0xee, sizeof bytes);
  OK(raw_fd_prestat_get(RW, at(bytes)));
  CHECK(all_zero(bytes, 0, 4) && bytes[8] == 0xee);
  memset(area, 0xee, sizeof area);
  OK(raw_fd_readdir(RW, at(area), sizeof area, 0, at(&result)));
  for (size_t i = 0; i < result;) {
    CHECK(all_zero(area, i + 21, i + 24));
    uint32_t name_size;
    memcpy(&name_size, area + i + 16, 4);
    i += 24 + name_size;
  }
  CHECK(area[result] == 0xee);
  __wasi_subscription_t in[2] = {{.u.tag = __WASI_EVENTTYPE_FD_READ}, {.u.tag = __WASI_EVENTTYPE_CLOCK}};
  in[0].u.u.fd_read.file_descriptor = fd;
  memset(area, 0xee, sizeof area);
  OK(raw_poll_oneoff(at(in), at(area), 2, at(&result)));
  CHECK(result == 2);
  for (size_t i = 0; i < 2; i++)
    CHECK(all_zero(area, i * 32 + 11, i * 32 + 16) && all_zero(area, i * 32 + 26, i * 32 + 32));
  CHECK(area[64] == 0xee);
}

// Addresses that no compiler would choose.
static void unaligned(void) {
  prepare();
  const int fd = open_flags("file", 0, 0);
  uint8_t* const odd = area + 1;
  __wasi_iovec_t in = {odd + 100, 6};
  memcpy(odd, &in, sizeof in);
  GIVES(raw_fd_read(fd, at(odd), 1, at(odd + 32)), SUCCESS, INVAL);
  GIVES(raw_fd_filestat_get(fd, at(odd)), SUCCESS, INVAL);
  GIVES(raw_fd_tell(fd, at(odd)), SUCCESS, INVAL);
  GIVES(raw_clock_time_get(0, 0, at(odd)), SUCCESS, INVAL);
}

CASES_MAIN(CASE(results), CASE(open_without_a_place_for_the_result), CASE(paths), CASE(lengths),
           CASE(buffers), CASE(up_to_the_end), CASE(sums), CASE(over_one_another), CASE(padding),
           CASE(unaligned))
