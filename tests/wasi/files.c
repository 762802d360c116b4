// Regular files, by descriptor.

#include "check.h"
#include "raw.h"

static __wasi_errno_t try_seek(int fd, int64_t offset, unsigned whence) {
  uint64_t position = 0;
  return (__wasi_errno_t)raw_fd_seek(fd, offset, whence, at(&position));
}
static size_t pread_at(int fd, void* bytes, size_t size, uint64_t offset) {
  const __wasi_iovec_t buffer = {(uint8_t*)bytes, size};
  __wasi_size_t done = 0;
  OK(__wasi_fd_pread(fd, &buffer, 1, offset, &done));
  return done;
}
static size_t pwrite_at(int fd, const char* text, uint64_t offset) {
  const __wasi_ciovec_t buffer = {(const uint8_t*)text, strlen(text)};
  __wasi_size_t done = 0;
  OK(__wasi_fd_pwrite(fd, &buffer, 1, offset, &done));
  return done;
}

// --- reading and writing --------------------------------------------------------------------------------

// Buffers are filled and emptied in their order; empty ones count as nothing.
static void write_and_read(void) {
  const int fd = open_new("file");
  const __wasi_ciovec_t out[] = {{(const uint8_t*)"one", 3}, {NULL, 0}, {(const uint8_t*)"two", 3}};
  __wasi_size_t done = 77;
  OK(__wasi_fd_write(fd, out, 3, &done));
  CHECK(done == 6);
  CHECK(tell(fd) == 6 && stat_fd(fd).size == 6);

  CHECK(seek_to(fd, 0, 0) == 0);
  uint8_t first[4];
  uint8_t second[8];
  memset(second, 0xee, sizeof second);
  const __wasi_iovec_t in[] = {{first, 4}, {first, 0}, {second, 8}};
  OK(__wasi_fd_read(fd, in, 3, &done));
  CHECK(done == 6);
  CHECK(memcmp(first, "onet", 4) == 0 && memcmp(second, "wo\xee\xee", 4) == 0);
  CHECK(read_bytes(fd, first, 4) == 0);  // the end, again and again
  CHECK(read_bytes(fd, first, 4) == 0);
  CHECK(tell(fd) == 6);
}

static void no_buffers(void) {
  const int fd = open_new("file");
  write_text(fd, "text");
  __wasi_size_t done = 77;
  OK(__wasi_fd_write(fd, NULL, 0, &done));
  CHECK(done == 0);
  OK(__wasi_fd_pwrite(fd, NULL, 0, 0, &done));
  CHECK(done == 0);
  seek_to(fd, 0, 0);
  done = 77;
  OK(__wasi_fd_read(fd, NULL, 0, &done));
  CHECK(done == 0);
  OK(__wasi_fd_pread(fd, NULL, 0, 0, &done));
  CHECK(done == 0);
  const __wasi_iovec_t empty = {(uint8_t*)&done, 0};
  done = 77;
  OK(__wasi_fd_read(fd, &empty, 1, &done));
  CHECK(done == 0);
  const __wasi_ciovec_t empty_out = {(const uint8_t*)&done, 0};
  OK(__wasi_fd_write(fd, &empty_out, 1, &done));
  CHECK(done == 0);
  CHECK(stat_fd(fd).size == 4 && tell(fd) == 0);
}

// 1024 of them, as on other systems; one more is an error, and then nothing was written.
static void many_buffers(void) {
  static __wasi_iovec_t in[2000];
  static __wasi_ciovec_t out[2000];
  static uint8_t bytes[2000];
  for (size_t i = 0; i < 2000; i++) {
    bytes[i] = (uint8_t)i;
    in[i] = (__wasi_iovec_t){bytes + i, 1};
    out[i] = (__wasi_ciovec_t){bytes + i, 1};
  }
  const int fd = open_new("file");
  __wasi_size_t done = 0;
  GIVES(__wasi_fd_write(fd, out, 1025, &done), INVAL);
  GIVES(__wasi_fd_write(fd, out, 2000, &done), INVAL);
  GIVES(__wasi_fd_pwrite(fd, out, 1025, 0, &done), INVAL);
  CHECK(stat_fd(fd).size == 0);
  OK(__wasi_fd_write(fd, out, 1024, &done));
  CHECK(done == 1024 && stat_fd(fd).size == 1024);
  seek_to(fd, 0, 0);
  GIVES(__wasi_fd_read(fd, in, 1025, &done), INVAL);
  GIVES(__wasi_fd_pread(fd, in, 2000, 0, &done), INVAL);
  memset(bytes, 0, sizeof bytes);
  OK(__wasi_fd_read(fd, in, 1024, &done));
  CHECK(done == 1024);
  for (size_t i = 0; i < 1024; i++) CHECK(bytes[i] == (uint8_t)i);
}

// The same bytes twice: the buffer that comes later wins, as it does in readv().
static void overlapping_buffers(void) {
  const int fd = open_new("file");
  write_text(fd, "abcdef");
  seek_to(fd, 0, 0);
  uint8_t bytes[4] = "....";
  const __wasi_iovec_t in[] = {{bytes, 4}, {bytes + 2, 2}};
  __wasi_size_t done = 0;
  OK(__wasi_fd_read(fd, in, 2, &done));
  CHECK(done == 6 && memcmp(bytes, "abef", 4) == 0);
  const __wasi_ciovec_t out[] = {{bytes, 4}, {bytes + 1, 3}};
  OK(__wasi_fd_write(fd, out, 2, &done));
  CHECK(done == 7);
  CHECK(has_content("file", "abcdefabefbef"));
}

// More than fits in a page, a pipe or any buffer of the host's.
static void large(void) {
  static uint8_t bytes[4 << 20];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 31 + (i >> 12));
  const int fd = open_new("file");
  for (size_t written = 0; written < sizeof bytes;) {
    const size_t n = write_bytes(fd, bytes + written, sizeof bytes - written);
    CHECK(n > 0);
    written += n;
  }
  CHECK(stat_fd(fd).size == sizeof bytes);
  memset(bytes, 0, sizeof bytes);
  seek_to(fd, 0, 0);
  for (size_t read = 0; read < sizeof bytes;) {
    const size_t n = read_bytes(fd, bytes + read, sizeof bytes - read);
    CHECK(n > 0);
    read += n;
  }
  for (size_t i = 0; i < sizeof bytes; i++) CHECK(bytes[i] == (uint8_t)(i * 31 + (i >> 12)));
}

static void positioned(void) {
  const int fd = open_new("file");
  CHECK(pwrite_at(fd, "abcdef", 0) == 6);
  CHECK(tell(fd) == 0);
  CHECK(pwrite_at(fd, "XY", 2) == 2);
  char text[16] = "";
  CHECK(pread_at(fd, text, 16, 1) == 5 && memcmp(text, "bXYef", 5) == 0);
  CHECK(pread_at(fd, text, 16, 6) == 0);
  CHECK(pread_at(fd, text, 16, 1000) == 0);
  CHECK(tell(fd) == 0);
  CHECK(pwrite_at(fd, "!", 9) == 1);  // a hole is zeros
  CHECK(pread_at(fd, text, 16, 5) == 5 && memcmp(text, "f\0\0\0!", 5) == 0);

  const __wasi_iovec_t in = {(uint8_t*)text, 1};
  const __wasi_ciovec_t out = {(const uint8_t*)text, 1};
  __wasi_size_t done = 0;
  GIVES(__wasi_fd_pread(fd, &in, 1, UINT64_MAX, &done), INVAL);
  GIVES(__wasi_fd_pread(fd, &in, 1, (uint64_t)1 << 63, &done), INVAL);
  GIVES(__wasi_fd_pwrite(fd, &out, 1, UINT64_MAX, &done), INVAL, FBIG);
  GIVES(__wasi_fd_pwrite(fd, &out, 1, INT64_MAX, &done), INVAL, FBIG);
  CHECK(stat_fd(fd).size == 10);
}

// --- positions ------------------------------------------------------------------------------------------

static void seek(void) {
  const int fd = open_new("file");
  write_text(fd, "0123456789");
  CHECK(seek_to(fd, 3, 0) == 3 && tell(fd) == 3);
  CHECK(seek_to(fd, 2, 1) == 5);
  CHECK(seek_to(fd, -5, 1) == 0);
  CHECK(seek_to(fd, 0, 2) == 10);
  CHECK(seek_to(fd, -10, 2) == 0);
  CHECK(seek_to(fd, 4, 1) == 4);

  GIVES(try_seek(fd, -1, 0), INVAL);
  GIVES(try_seek(fd, -5, 1), INVAL);
  GIVES(try_seek(fd, -11, 2), INVAL);
  GIVES(try_seek(fd, INT64_MIN, 0), INVAL);
  GIVES(try_seek(fd, INT64_MIN, 1), INVAL);
  GIVES(try_seek(fd, INT64_MIN, 2), INVAL);
  GIVES(try_seek(fd, INT64_MAX, 1), INVAL, OVERFLOW);
  GIVES(try_seek(fd, INT64_MAX, 2), INVAL, OVERFLOW);
  GIVES(try_seek(fd, 0, 3), INVAL);
  GIVES(try_seek(fd, 0, 255), INVAL);
  CHECK(tell(fd) == 4);  // what fails changes nothing
}

static void seek_beyond_the_end(void) {
  const int fd = open_new("file");
  write_text(fd, "ab");
  CHECK(seek_to(fd, 5, 0) == 5);
  char text[8];
  CHECK(read_bytes(fd, text, 8) == 0);
  CHECK(stat_fd(fd).size == 2);
  write_text(fd, "c");
  CHECK(stat_fd(fd).size == 6);
  CHECK(pread_at(fd, text, 8, 0) == 6 && memcmp(text, "ab\0\0\0c", 6) == 0);
}

// At the end of all positions: an error, and the position stays where it is.
static void far_positions(void) {
  const int fd = open_new("file");
  write_text(fd, "ab");
  const uint64_t far[] = {INT64_MAX, INT64_MAX - 1, (uint64_t)1 << 62};
  for (size_t i = 0; i < sizeof far / sizeof far[0]; i++) {
    CHECK(seek_to(fd, (int64_t)far[i], 0) == far[i]);
    const __wasi_ciovec_t out = {(const uint8_t*)"xyz", 3};
    uint8_t bytes[4];
    const __wasi_iovec_t in = {bytes, 4};
    __wasi_size_t done = 0;
    GIVES(__wasi_fd_write(fd, &out, 1, &done), INVAL, FBIG, OVERFLOW);
    GIVES(__wasi_fd_read(fd, &in, 1, &done), SUCCESS, INVAL, OVERFLOW);
    CHECK(done == 0 && tell(fd) == far[i]);
  }
  CHECK(stat_fd(fd).size == 2);
}

// Each descriptor has a position; what they show is one file.
static void two_descriptors(void) {
  const int first = open_new("file");
  const int second = open_flags("file", 0, 0);
  write_text(first, "abc");
  CHECK(tell(second) == 0);
  char text[8];
  CHECK(read_bytes(second, text, 2) == 2 && memcmp(text, "ab", 2) == 0);
  CHECK(tell(first) == 3 && tell(second) == 2);
  write_text(second, "X");
  CHECK(pread_at(first, text, 8, 0) == 3 && memcmp(text, "abX", 3) == 0);
  OK(__wasi_fd_close(second));
  CHECK(tell(first) == 3);
}

static void append(void) {
  create_file("file", "abc");
  const int fd = open_flags("file", 0, __WASI_FDFLAGS_APPEND);
  __wasi_fdstat_t stat;
  OK(__wasi_fd_fdstat_get(fd, &stat));
  CHECK(stat.fs_flags == __WASI_FDFLAGS_APPEND);
  CHECK(tell(fd) == 0);
  char text[16];
  CHECK(read_bytes(fd, text, 1) == 1 && text[0] == 'a');
  write_text(fd, "de");  // at the end, and there the position is then
  CHECK(tell(fd) == 5);
  seek_to(fd, 0, 0);
  write_text(fd, "f");
  CHECK(tell(fd) == 6);
  CHECK(has_content("file", "abcdef"));

  // Another one makes the file longer: the end is where it is at the time of writing.
  const int other = open_flags("file", 0, 0);
  seek_to(other, 0, 2);
  write_text(other, "gh");
  write_text(fd, "i");
  CHECK(tell(fd) == 9);
  CHECK(has_content("file", "abcdefghi"));

  // POSIX writes at the offset, Linux at the end; either way the position stays.
  CHECK(pwrite_at(fd, "!", 0) == 1);
  CHECK(tell(fd) == 9);
  CHECK(has_content("file", "!bcdefghi") || has_content("file", "abcdefghi!"));
}

static void append_switched(void) {
  const int fd = open_new("file");
  write_text(fd, "abc");
  OK(__wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_APPEND));
  __wasi_fdstat_t stat;
  OK(__wasi_fd_fdstat_get(fd, &stat));
  CHECK(stat.fs_flags == __WASI_FDFLAGS_APPEND);
  seek_to(fd, 0, 0);
  write_text(fd, "d");
  CHECK(has_content("file", "abcd"));
  OK(__wasi_fd_fdstat_set_flags(fd, 0));
  OK(__wasi_fd_fdstat_get(fd, &stat));
  CHECK(stat.fs_flags == 0);
  seek_to(fd, 0, 0);
  write_text(fd, "X");
  CHECK(has_content("file", "Xbcd"));
}

// --- sizes, times, what a file is -----------------------------------------------------------------------

static void set_size(void) {
  const int fd = open_new("file");
  write_text(fd, "abcdef");
  OK(__wasi_fd_filestat_set_size(fd, 3));
  CHECK(stat_fd(fd).size == 3);
  CHECK(tell(fd) == 6);
  OK(__wasi_fd_filestat_set_size(fd, 5));
  char text[16];
  CHECK(pread_at(fd, text, 16, 0) == 5 && memcmp(text, "abc\0\0", 5) == 0);
  OK(__wasi_fd_filestat_set_size(fd, 0));
  CHECK(stat_fd(fd).size == 0);
  OK(__wasi_fd_filestat_set_size(fd, (uint64_t)1 << 32));  // a hole costs nothing
  CHECK(stat_fd(fd).size == (uint64_t)1 << 32);
  GIVES(__wasi_fd_filestat_set_size(fd, UINT64_MAX), INVAL, FBIG);
  GIVES(__wasi_fd_filestat_set_size(fd, (uint64_t)1 << 63), INVAL, FBIG);
  CHECK(stat_fd(fd).size == (uint64_t)1 << 32);
}

static void allocate(void) {
  const int fd = open_new("file");
  OK(__wasi_fd_allocate(fd, 0, 100));
  CHECK(stat_fd(fd).size == 100);
  OK(__wasi_fd_allocate(fd, 10, 10));  // never shrinks
  CHECK(stat_fd(fd).size == 100);
  OK(__wasi_fd_allocate(fd, 90, 20));
  CHECK(stat_fd(fd).size == 110);
  uint8_t bytes[128];
  memset(bytes, 0xee, sizeof bytes);
  CHECK(pread_at(fd, bytes, 128, 0) == 110 && bytes[0] == 0 && bytes[109] == 0);
  GIVES(__wasi_fd_allocate(fd, 0, 0), INVAL);
  GIVES(__wasi_fd_allocate(fd, UINT64_MAX, 1), INVAL, FBIG);
  GIVES(__wasi_fd_allocate(fd, 0, UINT64_MAX), INVAL, FBIG);
  GIVES(__wasi_fd_allocate(fd, INT64_MAX, INT64_MAX), INVAL, FBIG);
  GIVES(__wasi_fd_allocate(fd, UINT64_MAX, UINT64_MAX), INVAL, FBIG);
  CHECK(stat_fd(fd).size == 110);
}

static void advise(void) {
  const int fd = open_new("file");
  write_text(fd, "abc");
  for (unsigned advice = 0; advice < 6; advice++) {
    OK(raw_fd_advise(fd, 0, 3, advice));
    OK(raw_fd_advise(fd, 1000, 0, advice));
  }
  GIVES(raw_fd_advise(fd, 0, 3, 6), INVAL);
  GIVES(raw_fd_advise(fd, 0, 3, 255), INVAL);
  GIVES(raw_fd_advise(fd, UINT64_MAX, UINT64_MAX, 0), INVAL, SUCCESS);
  CHECK(has_content("file", "abc"));
}

static void sync(void) {
  const int fd = open_new("file");
  write_text(fd, "abc");
  OK(__wasi_fd_datasync(fd));
  OK(__wasi_fd_sync(fd));
  const int directory = open_directory(RW, ".");
  GIVES(__wasi_fd_sync(directory), SUCCESS, ISDIR, INVAL);
}

static void set_times(void) {
  const uint64_t second = 1000000000;
  const int fd = open_new("file");
  OK(__wasi_fd_filestat_set_times(fd, 5 * second + 1, 7 * second + 2,
                                  __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM));
  CHECK(stat_fd(fd).atim == 5 * second + 1 && stat_fd(fd).mtim == 7 * second + 2);
  OK(__wasi_fd_filestat_set_times(fd, 11 * second, 13 * second, __WASI_FSTFLAGS_ATIM));
  CHECK(stat_fd(fd).atim == 11 * second && stat_fd(fd).mtim == 7 * second + 2);
  OK(__wasi_fd_filestat_set_times(fd, 15 * second, 17 * second, __WASI_FSTFLAGS_MTIM));
  CHECK(stat_fd(fd).atim == 11 * second && stat_fd(fd).mtim == 17 * second);
  OK(__wasi_fd_filestat_set_times(fd, 1, 1, 0));  // neither
  CHECK(stat_fd(fd).atim == 11 * second && stat_fd(fd).mtim == 17 * second);
  OK(__wasi_fd_filestat_set_times(fd, 1, 1, __WASI_FSTFLAGS_MTIM_NOW));
  CHECK(stat_fd(fd).atim == 11 * second && stat_fd(fd).mtim > 1700000000 * second);
  OK(__wasi_fd_filestat_set_times(fd, 1, 3 * second, __WASI_FSTFLAGS_ATIM_NOW | __WASI_FSTFLAGS_MTIM));
  CHECK(stat_fd(fd).atim > 1700000000 * second && stat_fd(fd).mtim == 3 * second);
}

static void set_times_wrongly(void) {
  const uint64_t second = 1000000000;
  const int fd = open_new("file");
  OK(__wasi_fd_filestat_set_times(fd, second, second, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM));
  GIVES(__wasi_fd_filestat_set_times(fd, 2, 2, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_ATIM_NOW), INVAL);
  GIVES(__wasi_fd_filestat_set_times(fd, 2, 2, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW), INVAL);
  GIVES(__wasi_fd_filestat_set_times(fd, 2, 2, 15), INVAL);
  GIVES(raw_fd_filestat_set_times(fd, 2, 2, 16), INVAL);
  GIVES(raw_fd_filestat_set_times(fd, 2, 2, 0x8000 | __WASI_FSTFLAGS_MTIM), INVAL);
  CHECK(stat_fd(fd).atim == second && stat_fd(fd).mtim == second);
}

static void filestat(void) {
  const int fd = open_new("file");
  write_text(fd, "abc");
  __wasi_filestat_t by_fd;
  __wasi_filestat_t by_path;
  memset(&by_fd, 0xee, sizeof by_fd);
  memset(&by_path, 0xee, sizeof by_path);
  OK(__wasi_fd_filestat_get(fd, &by_fd));
  OK(__wasi_path_filestat_get(RW, 0, "file", &by_path));
  CHECK(by_path.size == 3 && by_path.nlink == 1 && by_path.filetype == by_fd.filetype);
  CHECK(by_path.mtim == by_fd.mtim && by_path.ctim == by_fd.ctim && by_path.atim == by_fd.atim);
  CHECK(by_fd.filetype == __WASI_FILETYPE_REGULAR_FILE);
  CHECK(by_fd.size == 3 && by_fd.nlink == 1 && by_fd.ino == by_path.ino && by_fd.dev == by_path.dev);
  CHECK(by_fd.mtim > 1700000000000000000 && by_fd.ctim > 1700000000000000000);
  CHECK(stat_fd(RW).filetype == __WASI_FILETYPE_DIRECTORY);
  CHECK(stat_fd(RW).ino != by_fd.ino);
}

static void fdstat(void) {
  const int fd = open_new("file");
  __wasi_fdstat_t stat;
  memset(&stat, 0xee, sizeof stat);
  OK(__wasi_fd_fdstat_get(fd, &stat));
  CHECK(stat.fs_filetype == __WASI_FILETYPE_REGULAR_FILE && stat.fs_flags == 0);
  CHECK((stat.fs_rights_base & FILE_RIGHTS) == FILE_RIGHTS);
  const int synced = open_flags("file", 0, __WASI_FDFLAGS_SYNC | __WASI_FDFLAGS_NONBLOCK);
  write_text(synced, "abc");
  OK(__wasi_fd_fdstat_get(synced, &stat));
  CHECK((stat.fs_flags & __WASI_FDFLAGS_NONBLOCK) != 0 && (stat.fs_flags & __WASI_FDFLAGS_APPEND) == 0);
  CHECK((stat.fs_flags & (__WASI_FDFLAGS_SYNC | __WASI_FDFLAGS_DSYNC)) != 0);
  OK(__wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_NONBLOCK));
  OK(__wasi_fd_fdstat_get(fd, &stat));
  CHECK(stat.fs_flags == __WASI_FDFLAGS_NONBLOCK);
  for (unsigned flags = 0x20; flags < 0x10000; flags <<= 1) GIVES(raw_fd_fdstat_set_flags(fd, flags), INVAL);
  OK(__wasi_fd_fdstat_get(fd, &stat));
  CHECK(stat.fs_flags == __WASI_FDFLAGS_NONBLOCK);
}

// --- opening --------------------------------------------------------------------------------------------

static void open_flags_each(void) {
  GIVES(try_open("file", 0, 0), NOENT);
  GIVES(try_open("file", 0, O_EXCLUSIVE), NOENT, INVAL);  // means nothing without O_CREATE
  OK(try_open("file", 0, O_CREATE));
  OK(try_open("file", 0, O_CREATE));
  GIVES(try_open("file", 0, O_CREATE | O_EXCLUSIVE), EXIST);
  const int fd = open_flags("file", 0, 0);
  write_text(fd, "abc");
  OK(try_open("file", 0, O_CREATE));
  CHECK(stat_fd(fd).size == 3);
  GIVES(try_open("file", 0, O_CREATE | O_EXCLUSIVE | O_TRUNCATE), EXIST);
  CHECK(stat_fd(fd).size == 3);
  OK(try_open_at(RW, "file", 0, O_TRUNCATE, FILE_RIGHTS));
  CHECK(stat_fd(fd).size == 0);

  GIVES(try_open("file", 0, O_DIR), NOTDIR);
  GIVES(try_open("file/below", 0, 0), NOTDIR);
  GIVES(try_open("file/below", 0, O_CREATE), NOTDIR);
  GIVES(try_open("missing/below", 0, O_CREATE), NOENT);
  GIVES(try_open("new", 0, O_CREATE | O_DIR), INVAL, NOTDIR, ISDIR, NOTSUP, NOENT);
  GIVES(try_stat("new", 0), NOENT);
}

static void open_directories(void) {
  OK(__wasi_path_create_directory(RW, "directory"));
  OK(try_open("directory", 0, 0));
  OK(try_open("directory", 0, O_DIR));
  OK(try_open(".", 0, 0));
  GIVES(try_open_at(RW, "directory", 0, 0, FILE_RIGHTS), ISDIR);
  GIVES(try_open_at(RW, "directory", 0, O_DIR, FILE_RIGHTS), ISDIR);
  GIVES(try_open_at(RW, "directory", 0, O_TRUNCATE, FILE_RIGHTS), ISDIR);
  GIVES(try_open("directory", 0, O_CREATE), ISDIR, SUCCESS);
  GIVES(try_open("directory", 0, O_CREATE | O_EXCLUSIVE), EXIST);
}

static void unknown_flags(void) {
  create_file("file", "abc");
  int fd = -1;
  for (unsigned flags = 0x10; flags < 0x10000; flags <<= 1) {
    GIVES(raw_path_open(RW, 0, at("file"), 4, flags, READ_RIGHTS, 0, 0, at(&fd)), INVAL);
  }
  for (unsigned flags = 0x20; flags < 0x10000; flags <<= 1) {
    GIVES(raw_path_open(RW, 0, at("file"), 4, 0, READ_RIGHTS, 0, flags, at(&fd)), INVAL);
  }
  for (unsigned flags = 2; flags != 0; flags <<= 1) {
    GIVES(raw_path_open(RW, flags, at("file"), 4, 0, READ_RIGHTS, 0, 0, at(&fd)), INVAL);
  }
  CHECK(fd == -1);
}

// 10,000 descriptors are more than anybody gets; the limit is 128 or what the argument says, streams and
// preopened directories among them, and what was closed counts no more.
static void too_many(void) {
  const int limit = case_arguments_count > 0 ? atoi(case_arguments[0]) : 128;
  static int fds[10000];
  create_file("file", "abc");
  for (int round = 0; round < 3; round++) {
    int count = 0;
    __wasi_errno_t error = SUCCESS;
    for (int i = 0; i < 10000; i++) {
      int fd = -1;
      error = __wasi_path_open(RW, 0, "file", 0, READ_RIGHTS, 0, 0, &fd);
      if (error != SUCCESS) {
        GIVES(error, MFILE);
        continue;
      }
      fds[count++] = fd;
    }
    GIVES(error, MFILE);
    CHECK(count <= limit && count >= limit - 8);
    GIVES(try_open_at(RW, "new", 0, O_CREATE, FILE_RIGHTS), MFILE);
    GIVES(try_stat("new", 0), NOENT);  // nor is a file made
    for (int i = 0; i < count; i++) {
      for (int j = 0; j < i; j++) CHECK(fds[i] != fds[j]);
    }
    for (int i = 0; i < count; i++) OK(__wasi_fd_close(fds[i]));
    OK(try_open("file", 0, 0));
  }
}

// --- descriptors ----------------------------------------------------------------------------------------

static void closed_descriptor(int fd) {
  uint8_t bytes[64];
  const __wasi_iovec_t in = {bytes, 64};
  const __wasi_ciovec_t out = {bytes, 64};
  __wasi_size_t done;
  __wasi_filesize_t position;
  __wasi_fdstat_t stat;
  __wasi_filestat_t file;
  __wasi_prestat_t prestat;
  int opened;
  GIVES(__wasi_fd_advise(fd, 0, 0, 0), BADF);
  GIVES(__wasi_fd_allocate(fd, 0, 1), BADF);
  GIVES(__wasi_fd_close(fd), BADF);
  GIVES(__wasi_fd_datasync(fd), BADF);
  GIVES(__wasi_fd_fdstat_get(fd, &stat), BADF);
  GIVES(__wasi_fd_fdstat_set_flags(fd, 0), BADF);
  GIVES(__wasi_fd_fdstat_set_rights(fd, 0, 0), BADF);
  GIVES(__wasi_fd_filestat_get(fd, &file), BADF);
  GIVES(__wasi_fd_filestat_set_size(fd, 0), BADF);
  GIVES(__wasi_fd_filestat_set_times(fd, 0, 0, 0), BADF);
  GIVES(__wasi_fd_pread(fd, &in, 1, 0, &done), BADF);
  GIVES(__wasi_fd_prestat_get(fd, &prestat), BADF);
  GIVES(__wasi_fd_prestat_dir_name(fd, bytes, 64), BADF);
  GIVES(__wasi_fd_pwrite(fd, &out, 1, 0, &done), BADF);
  GIVES(__wasi_fd_read(fd, &in, 1, &done), BADF);
  GIVES(__wasi_fd_readdir(fd, bytes, 64, 0, &done), BADF);
  GIVES(__wasi_fd_renumber(fd, STDOUT), BADF);
  GIVES(__wasi_fd_seek(fd, 0, 0, &position), BADF);
  GIVES(__wasi_fd_sync(fd), BADF);
  GIVES(__wasi_fd_tell(fd, &position), BADF);
  GIVES(__wasi_fd_write(fd, &out, 1, &done), BADF);
  GIVES(__wasi_path_create_directory(fd, "new"), BADF);
  GIVES(__wasi_path_filestat_get(fd, 0, "file", &file), BADF);
  GIVES(__wasi_path_filestat_set_times(fd, 0, "file", 0, 0, 0), BADF);
  GIVES(__wasi_path_link(fd, 0, "file", RW, "new"), BADF);
  GIVES(__wasi_path_link(RW, 0, "file", fd, "new"), BADF);
  GIVES(__wasi_path_open(fd, 0, "file", 0, 0, 0, 0, &opened), BADF);
  GIVES(__wasi_path_readlink(fd, "link", bytes, 64, &done), BADF);
  GIVES(__wasi_path_remove_directory(fd, "new"), BADF);
  GIVES(__wasi_path_rename(fd, "file", RW, "new"), BADF);
  GIVES(__wasi_path_rename(RW, "file", fd, "new"), BADF);
  GIVES(__wasi_path_symlink("file", fd, "new"), BADF);
  GIVES(__wasi_path_unlink_file(fd, "file"), BADF);
}
static void bad_descriptors(void) {
  create_file("file", "");
  const int fd = open_flags("file", 0, 0);
  OK(__wasi_fd_close(fd));
  closed_descriptor(fd);
  closed_descriptor(NOT_OPEN);
  closed_descriptor(1 << 20);
  closed_descriptor(INT32_MAX);
  closed_descriptor(INT32_MIN);
  closed_descriptor(-1);
  closed_descriptor(-31337);
}

// A file is not a directory.
static void wrong_kind(void) {
  const int fd = open_new("file");
  OK(__wasi_path_symlink("file", RW, "link"));
  uint8_t bytes[64];
  __wasi_size_t done;
  __wasi_filestat_t file;
  __wasi_prestat_t prestat;
  int opened;
  GIVES(__wasi_fd_readdir(fd, bytes, 64, 0, &done), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_create_directory(fd, "new"), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_filestat_get(fd, 0, "file", &file), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_filestat_set_times(fd, 0, "file", 0, 0, 0), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_link(fd, 0, "file", RW, "new"), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_link(RW, 0, "file", fd, "new"), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_open(fd, 0, "file", 0, 0, 0, 0, &opened), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_open(fd, 0, ".", 0, 0, 0, 0, &opened), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_readlink(fd, "link", bytes, 64, &done), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_remove_directory(fd, "new"), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_rename(fd, "file", RW, "new"), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_rename(RW, "file", fd, "new"), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_symlink("file", fd, "new"), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_path_unlink_file(fd, "file"), NOTDIR, NOTCAPABLE);
  GIVES(__wasi_fd_prestat_get(fd, &prestat), BADF);
  GIVES(__wasi_fd_prestat_dir_name(fd, bytes, 64), BADF, NOTDIR);
  const int directory = open_directory(RW, ".");
  GIVES(__wasi_fd_prestat_get(directory, &prestat), BADF);
  GIVES(__wasi_fd_prestat_dir_name(directory, bytes, 64), BADF);
  GIVES(__wasi_fd_prestat_get(STDIN, &prestat), BADF);
}

static void close(void) {
  const int fd = open_new("file");
  OK(__wasi_fd_close(fd));
  GIVES(__wasi_fd_close(fd), BADF);
  GIVES(try_write(fd), BADF);
  OK(__wasi_fd_close(STDIN));
  GIVES(try_read(STDIN), BADF);
  OK(__wasi_fd_close(STDOUT));
  GIVES(try_write(STDOUT), BADF);
}

static void close_preopen(void) {
  create_file("file", "");
  const int directory = open_directory(RW, ".");
  OK(__wasi_fd_close(RW));
  __wasi_prestat_t prestat;
  GIVES(__wasi_fd_prestat_get(RW, &prestat), BADF);
  GIVES(try_stat("file", 0), BADF);
  OK(try_open_at(directory, "file", 0, 0, READ_RIGHTS));
  OK(__wasi_fd_prestat_get(RO, &prestat));
  // A file that gets the number is no preopen.
  int fd = -1;
  for (int i = 0; i < 8; i++) {
    OK(__wasi_path_open(directory, 0, "file", 0, READ_RIGHTS, 0, 0, &fd));
    GIVES(__wasi_fd_prestat_get(fd, &prestat), BADF);
  }
}

static void renumber(void) {
  const int first = open_new("first");
  const int second = open_new("second");
  write_text(first, "1");
  write_text(second, "22");
  const uint64_t inode = stat_fd(first).ino;
  OK(__wasi_fd_renumber(first, second));
  GIVES(__wasi_fd_close(first), BADF);
  CHECK(stat_fd(second).ino == inode);
  CHECK(tell(second) == 1);  // the position moves along
  write_text(second, "x");
  CHECK(has_content("first", "1x") && has_content("second", "22"));

  OK(__wasi_fd_renumber(second, second));
  CHECK(stat_fd(second).ino == inode);
  GIVES(__wasi_fd_renumber(second, first), BADF);  // closed
  GIVES(__wasi_fd_renumber(second, NOT_OPEN), BADF);
  GIVES(__wasi_fd_renumber(second, -1), BADF);
  GIVES(__wasi_fd_renumber(NOT_OPEN, second), BADF);
  GIVES(__wasi_fd_renumber(NOT_OPEN, NOT_OPEN), BADF);
  CHECK(stat_fd(second).ino == inode);
}

static void renumber_preopen(void) {
  const int fd = open_new("file");
  const uint64_t inode = stat_fd(fd).ino;
  OK(__wasi_fd_renumber(fd, RO));
  CHECK(stat_fd(RO).ino == inode);
  __wasi_prestat_t prestat;
  GIVES(__wasi_fd_prestat_get(RO, &prestat), BADF);  // that was the directory's
  OK(__wasi_fd_prestat_get(RW, &prestat));
}

// As a shell redirects: what is printed from then on is in the file.
static void renumber_stdout(void) {
  const int fd = open_new("file");
  puts("before");
  fflush(stdout);
  OK(__wasi_fd_renumber(fd, STDOUT));
  puts("after");
  fflush(stdout);
  CHECK(has_content("file", "after\n"));
}

// A file without a name lives on while it is open.
static void unlinked(void) {
  const int fd = open_new("file");
  write_text(fd, "abc");
  OK(__wasi_path_unlink_file(RW, "file"));
  GIVES(try_stat("file", 0), NOENT);
  CHECK(stat_fd(fd).nlink == 0 && stat_fd(fd).size == 3);
  write_text(fd, "def");
  char text[8];
  CHECK(pread_at(fd, text, 8, 0) == 6 && memcmp(text, "abcdef", 6) == 0);
}

// Each number has a meaning in one table only: descriptors of the host's do not show through.
static void no_other_descriptors(void) {
  __wasi_fdstat_t stat;
  for (int fd = RO + 1; fd < 2000; fd++) GIVES(__wasi_fd_fdstat_get(fd, &stat), BADF);
}

// Run with a limit of one megabyte on the size of files: an error, not a signal that ends the host.
static void file_size_limit(void) {
  static uint8_t bytes[1 << 16];
  const int fd = open_new("file");
  const __wasi_ciovec_t out = {bytes, sizeof bytes};
  __wasi_errno_t error = SUCCESS;
  for (int i = 0; i < 100 && error == SUCCESS; i++) {
    __wasi_size_t done;
    error = __wasi_fd_write(fd, &out, 1, &done);
  }
  GIVES(error, FBIG);
  CHECK(stat_fd(fd).size <= 1 << 20);
  GIVES(__wasi_fd_filestat_set_size(fd, 1 << 22), FBIG);
  GIVES(__wasi_fd_allocate(fd, 0, 1 << 22), FBIG, NOTSUP);
}

// Run in a file system of 256 KiB.
static void full_disk(void) {
  static uint8_t bytes[1 << 14];
  const int fd = open_new("file");
  const __wasi_ciovec_t out = {bytes, sizeof bytes};
  __wasi_errno_t error = SUCCESS;
  for (int i = 0; i < 100 && error == SUCCESS; i++) {
    __wasi_size_t done;
    error = __wasi_fd_write(fd, &out, 1, &done);
  }
  GIVES(error, NOSPC);
  __wasi_size_t done;
  GIVES(__wasi_fd_pwrite(fd, &out, 1, 1 << 20, &done), NOSPC);
  GIVES(__wasi_fd_allocate(fd, 0, 1 << 22), NOSPC, NOTSUP);
  OK(__wasi_fd_filestat_set_size(fd, 0));  // room again
  seek_to(fd, 0, 0);
  write_text(fd, "abc");
}

CASES_MAIN(CASE(write_and_read), CASE(no_buffers), CASE(many_buffers), CASE(overlapping_buffers), CASE(large),
           CASE(positioned), CASE(seek), CASE(seek_beyond_the_end), CASE(far_positions),
           CASE(two_descriptors), CASE(append), CASE(append_switched), CASE(set_size), CASE(allocate),
           CASE(advise), CASE(sync), CASE(set_times), CASE(set_times_wrongly), CASE(filestat), CASE(fdstat),
           CASE(open_flags_each), CASE(open_directories), CASE(unknown_flags), CASE(too_many),
           CASE(bad_descriptors), CASE(wrong_kind), CASE(close), CASE(close_preopen), CASE(renumber),
           CASE(renumber_preopen), CASE(renumber_stdout), CASE(unlinked), CASE(no_other_descriptors),
           CASE(file_size_limit), CASE(full_disk))
