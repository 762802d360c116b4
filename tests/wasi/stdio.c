// Standard input, output and error: streams, not files.

#include "check.h"
#include "raw.h"

// Run with "one\ntwo\n" as standard input.
static void read_input(void) {
  char text[16];
  CHECK(read_bytes(STDIN, text, 4) == 4 && memcmp(text, "one\n", 4) == 0);
  size_t size = 0;
  while (1) {
    const size_t n = read_bytes(STDIN, text + size, sizeof text - size);
    if (n == 0) break;
    size += n;
  }
  CHECK(size == 4 && memcmp(text, "two\n", 4) == 0);
  CHECK(read_bytes(STDIN, text, 16) == 0);
}

// All of standard input to standard output: 'cat'.
static void copy(void) {
  static uint8_t bytes[65536];
  while (1) {
    const size_t size = read_bytes(STDIN, bytes, sizeof bytes);
    if (size == 0) return;
    for (size_t written = 0; written < size;) written += write_bytes(STDOUT, bytes + written, size - written);
  }
}

static void write_both(void) {
  write_text(STDOUT, "to the output\n");
  write_text(STDERR, "to the errors\n");
  const __wasi_ciovec_t out[] = {{(const uint8_t*)"a", 1}, {NULL, 0}, {(const uint8_t*)"bc\n", 3}};
  __wasi_size_t done = 0;
  OK(__wasi_fd_write(STDOUT, out, 3, &done));
  CHECK(done == 4);
}

static void what_they_are(void) {
  uint8_t byte = 0;
  const __wasi_iovec_t in = {&byte, 1};
  const __wasi_ciovec_t out = {&byte, 1};
  __wasi_size_t done;
  __wasi_filesize_t position;
  __wasi_prestat_t prestat;
  int fd;
  for (int stream = 0; stream < 3; stream++) {
    __wasi_fdstat_t stat;
    OK(__wasi_fd_fdstat_get(stream, &stat));
    CHECK(stat.fs_filetype != __WASI_FILETYPE_DIRECTORY);
    CHECK((stat.fs_rights_base & (__WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL)) == 0);
    OK(__wasi_fd_filestat_get(stream, &(__wasi_filestat_t){0}));
    GIVES(__wasi_fd_seek(stream, 0, 0, &position), SPIPE, NOTCAPABLE);
    GIVES(__wasi_fd_seek(stream, 0, 1, &position), SPIPE, NOTCAPABLE);
    GIVES(__wasi_fd_tell(stream, &position), SPIPE, NOTCAPABLE);
    GIVES(__wasi_fd_pread(stream, &in, 1, 0, &done), SPIPE, NOTCAPABLE, BADF);
    GIVES(__wasi_fd_pwrite(stream, &out, 1, 0, &done), SPIPE, NOTCAPABLE, BADF);
    GIVES(__wasi_fd_allocate(stream, 0, 1), SPIPE, NOTCAPABLE, INVAL, BADF);
    GIVES(__wasi_fd_filestat_set_size(stream, 0), SPIPE, NOTCAPABLE, INVAL, BADF);
    GIVES(__wasi_fd_filestat_set_times(stream, 1, 1, 5), SPIPE, NOTCAPABLE, INVAL, BADF);
    GIVES(__wasi_fd_advise(stream, 0, 0, 0), SPIPE, NOTCAPABLE, SUCCESS);
    GIVES(__wasi_fd_readdir(stream, &byte, 1, 0, &done), NOTDIR, NOTCAPABLE);
    GIVES(__wasi_path_open(stream, 0, ".", 0, 0, 0, 0, &fd), NOTDIR, NOTCAPABLE);
    GIVES(__wasi_fd_prestat_get(stream, &prestat), BADF);
  }
  GIVES(try_read(STDOUT), BADF, NOTCAPABLE);
  GIVES(try_read(STDERR), BADF, NOTCAPABLE);
  GIVES(try_write(STDIN), BADF, NOTCAPABLE);
}

// Run with a standard input where nothing ever comes.
static void not_blocking(void) {
  OK(__wasi_fd_fdstat_set_flags(STDIN, __WASI_FDFLAGS_NONBLOCK));
  GIVES(try_read(STDIN), AGAIN);
}

// --- to be ended from outside ---------------------------------------------------------------------------

// Ten gigabytes of output.
static void flood(void) {
  static uint8_t bytes[1 << 16];
  memset(bytes, 'x', sizeof bytes);
  const __wasi_ciovec_t out = {bytes, sizeof bytes};
  for (uint64_t written = 0; written < (uint64_t)10 << 30;) {
    __wasi_size_t done = 0;
    OK(__wasi_fd_write(STDOUT, &out, 1, &done));
    CHECK(done > 0);
    written += done;
  }
}
// Eight gigabytes by one call: the whole memory, again and again.
static void flood_at_once(void) {
  static uint8_t bytes[8 << 20];
  static __wasi_ciovec_t out[1024];
  for (int i = 0; i < 1024; i++) out[i] = (__wasi_ciovec_t){bytes, sizeof bytes};
  __wasi_size_t done = 0;
  GIVES(__wasi_fd_write(STDOUT, out, 1024, &done), INVAL);
  for (int i = 0; i < 1000; i++) OK(__wasi_fd_write(STDOUT, out, 256, &done));
}
// The same to a file, read from one, and as random numbers.
static void flood_file(void) {
  static uint8_t bytes[1 << 16];
  const __wasi_ciovec_t out = {bytes, sizeof bytes};
  const int fd = open_new("file");
  for (int i = 0; i < 200000; i++) {
    __wasi_size_t done = 0;
    OK(__wasi_fd_pwrite(fd, &out, 1, 0, &done));
  }
}
static void read_for_ever(void) {
  static uint8_t bytes[1 << 16];
  while (read_bytes(STDIN, bytes, sizeof bytes) > 0) {
  }
}
static void random_for_ever(void) {
  static uint8_t bytes[1 << 16];
  while (1) OK(__wasi_random_get(bytes, sizeof bytes));
}
// Calls that move nothing.
static void write_nothing_for_ever(void) {
  fputs("waiting\n", stderr);
  while (1) CHECK(write_bytes(STDOUT, "", 0) == 0);
}
// Run with a standard input where nothing ever comes.
static void wait_for_input(void) {
  fputs("waiting\n", stderr);
  CHECK(try_read(STDIN) == SUCCESS);
}
// Run with a standard output that nobody reads.
static void fill_the_pipe(void) {
  fputs("waiting\n", stderr);
  flood();
}
// Run with a standard output of which the other end is closed, or which is full.
static void print_the_error(void) {
  __wasi_errno_t error = SUCCESS;
  for (int i = 0; i < 100 && error == SUCCESS; i++) error = try_write(STDOUT);
  fprintf(stderr, "%s\n", errno_name(error));
}

CASES_MAIN(CASE(read_input), CASE(copy), CASE(write_both), CASE(what_they_are), CASE(not_blocking),
           CASE(flood), CASE(flood_at_once), CASE(flood_file), CASE(read_for_ever), CASE(random_for_ever),
           CASE(write_nothing_for_ever), CASE(wait_for_input), CASE(fill_the_pipe), CASE(print_the_error))
