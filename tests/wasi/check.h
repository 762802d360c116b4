#pragma once

// What the guests of this folder share: checks that name their line, and cases that a test picks by name.
//
// A guest is run as 'NAME.wasm CASE'; without a case it prints those it has, one a line, so that
// tests/wasi_test.cc can see that it forgot none.  A check that fails prints its place and ends the guest
// with 1.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

// Errors by the names that the specification has for them.
enum {
  SUCCESS = 0,
  ACCES = __WASI_ERRNO_ACCES,
  AGAIN = __WASI_ERRNO_AGAIN,
  BADF = __WASI_ERRNO_BADF,
  BUSY = __WASI_ERRNO_BUSY,
  EXIST = __WASI_ERRNO_EXIST,
  FAULT = __WASI_ERRNO_FAULT,
  FBIG = __WASI_ERRNO_FBIG,
  ILSEQ = __WASI_ERRNO_ILSEQ,
  INVAL = __WASI_ERRNO_INVAL,
  IO = __WASI_ERRNO_IO,
  ISDIR = __WASI_ERRNO_ISDIR,
  LOOP = __WASI_ERRNO_LOOP,
  MFILE = __WASI_ERRNO_MFILE,
  NAMETOOLONG = __WASI_ERRNO_NAMETOOLONG,
  NOENT = __WASI_ERRNO_NOENT,
  NOSPC = __WASI_ERRNO_NOSPC,
  NOSYS = __WASI_ERRNO_NOSYS,
  NOTCAPABLE = __WASI_ERRNO_NOTCAPABLE,
  NOTDIR = __WASI_ERRNO_NOTDIR,
  NOTEMPTY = __WASI_ERRNO_NOTEMPTY,
  NOTSOCK = __WASI_ERRNO_NOTSOCK,
  NOTSUP = __WASI_ERRNO_NOTSUP,
  OVERFLOW = __WASI_ERRNO_OVERFLOW,
  PERM = __WASI_ERRNO_PERM,
  PIPE = __WASI_ERRNO_PIPE,
  ROFS = __WASI_ERRNO_ROFS,
  SPIPE = __WASI_ERRNO_SPIPE,
  XDEV = __WASI_ERRNO_XDEV,
};

static inline const char* errno_name(unsigned error) {
  static const char* const names[] = {
      "SUCCESS",     "2BIG",           "ACCES",       "ADDRINUSE",   "ADDRNOTAVAIL",
      "AFNOSUPPORT", "AGAIN",          "ALREADY",     "BADF",        "BADMSG",
      "BUSY",        "CANCELED",       "CHILD",       "CONNABORTED", "CONNREFUSED",
      "CONNRESET",   "DEADLK",         "DESTADDRREQ", "DOM",         "DQUOT",
      "EXIST",       "FAULT",          "FBIG",        "HOSTUNREACH", "IDRM",
      "ILSEQ",       "INPROGRESS",     "INTR",        "INVAL",       "IO",
      "ISCONN",      "ISDIR",          "LOOP",        "MFILE",       "MLINK",
      "MSGSIZE",     "MULTIHOP",       "NAMETOOLONG", "NETDOWN",     "NETRESET",
      "NETUNREACH",  "NFILE",          "NOBUFS",      "NODEV",       "NOENT",
      "NOEXEC",      "NOLCK",          "NOLINK",      "NOMEM",       "NOMSG",
      "NOPROTOOPT",  "NOSPC",          "NOSYS",       "NOTCONN",     "NOTDIR",
      "NOTEMPTY",    "NOTRECOVERABLE", "NOTSOCK",     "NOTSUP",      "NOTTY",
      "NXIO",        "OVERFLOW",       "OWNERDEAD",   "PERM",        "PIPE",
      "PROTO",       "PROTONOSUPPORT", "PROTOTYPE",   "RANGE",       "ROFS",
      "SPIPE",       "SRCH",           "STALE",       "TIMEDOUT",    "TXTBSY",
      "XDEV",        "NOTCAPABLE"};
  return error < sizeof names / sizeof names[0] ? names[error] : "no errno at all";
}

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

_Noreturn static inline void check_failed(const char* file, int line, const char* text) {
  fprintf(stderr, "%s:%d: not so: %s\n", file, line, text);
  exit(1);
}

// The call gives one of these errors: GIVES(__wasi_fd_close(99), BADF).
#define GIVES(call, ...)                                                     \
  check_errno(__FILE__, __LINE__, #call, (call), (const int[]){__VA_ARGS__}, \
              sizeof((const int[]){__VA_ARGS__}) / sizeof(int))
#define OK(call) GIVES(call, SUCCESS)

static inline void check_errno(const char* file, int line, const char* call, int error, const int* expected,
                               size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (error == expected[i]) return;
  }
  fprintf(stderr, "%s:%d: %s gives %s, expected", file, line, call, errno_name((unsigned)error));
  for (size_t i = 0; i < count; i++) fprintf(stderr, " %s", errno_name((unsigned)expected[i]));
  fprintf(stderr, "\n");
  exit(1);
}

// --- cases ----------------------------------------------------------------------------------------------

struct test_case {
  const char* name;
  void (*run)(void);
};
#define CASE(name) {#name, name}

// The words behind the case's name.
static char** case_arguments;
static int case_arguments_count;

static inline int run_cases(const struct test_case* cases, size_t count, int argc, char** argv) {
  if (argc < 2) {
    for (size_t i = 0; i < count; i++) puts(cases[i].name);
    return 0;
  }
  case_arguments = argv + 2;
  case_arguments_count = argc - 2;
  for (size_t i = 0; i < count; i++) {
    if (strcmp(cases[i].name, argv[1]) == 0) {
      cases[i].run();
      return 0;
    }
  }
  fprintf(stderr, "there is no case %s\n", argv[1]);
  return 1;
}

#define CASES_MAIN(...)                                  \
  static const struct test_case cases[] = {__VA_ARGS__}; \
  int main(int argc, char** argv) { return run_cases(cases, sizeof cases / sizeof cases[0], argc, argv); }

// --- files ----------------------------------------------------------------------------------------------

// The directories that the test gives: /rw, empty and writable, and /ro, neither.
enum { STDIN = 0, STDOUT = 1, STDERR = 2, RW = 3, RO = 4, NOT_OPEN = 97 };

#define FILE_RIGHTS                                                                    \
  (__WASI_RIGHTS_FD_DATASYNC | __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK |         \
   __WASI_RIGHTS_FD_FDSTAT_SET_FLAGS | __WASI_RIGHTS_FD_SYNC | __WASI_RIGHTS_FD_TELL | \
   __WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_ADVISE | __WASI_RIGHTS_FD_ALLOCATE |      \
   __WASI_RIGHTS_FD_FILESTAT_GET | __WASI_RIGHTS_FD_FILESTAT_SET_SIZE |                \
   __WASI_RIGHTS_FD_FILESTAT_SET_TIMES | __WASI_RIGHTS_POLL_FD_READWRITE)
#define READ_RIGHTS                                                                                        \
  (__WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL | __WASI_RIGHTS_FD_FILESTAT_GET | \
   __WASI_RIGHTS_POLL_FD_READWRITE)

#define FOLLOW __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW
#define O_CREATE __WASI_OFLAGS_CREAT
#define O_EXCLUSIVE __WASI_OFLAGS_EXCL
#define O_TRUNCATE __WASI_OFLAGS_TRUNC
#define O_DIR __WASI_OFLAGS_DIRECTORY

static inline __wasi_rights_t base_rights(int fd) {
  __wasi_fdstat_t stat;
  OK(__wasi_fd_fdstat_get(fd, &stat));
  return stat.fs_rights_base;
}
static inline __wasi_rights_t inheriting_rights(int fd) {
  __wasi_fdstat_t stat;
  OK(__wasi_fd_fdstat_get(fd, &stat));
  return stat.fs_rights_inheriting;
}

// Opens what must be openable, with all rights that there are for files.
static inline int open_flags(const char* path, int oflags, int fdflags) {
  int fd = -1;
  const __wasi_errno_t error = __wasi_path_open(RW, 0, path, (__wasi_oflags_t)oflags, FILE_RIGHTS,
                                                FILE_RIGHTS, (__wasi_fdflags_t)fdflags, &fd);
  if (error != SUCCESS) fprintf(stderr, "opening %s\n", path);
  OK(error);
  CHECK(fd > 2);
  return fd;
}
static inline int open_new(const char* path) { return open_flags(path, O_CREATE | O_EXCLUSIVE, 0); }
static inline int open_directory(int parent, const char* path) {
  int fd = -1;
  OK(__wasi_path_open(parent, 0, path, O_DIR, base_rights(parent), inheriting_rights(parent), 0, &fd));
  return fd;
}
// What opening gives, if only the error counts; a descriptor is closed again.
static inline __wasi_errno_t try_open_at(int parent, const char* path, int lookup, int oflags,
                                         __wasi_rights_t rights) {
  int fd = -1;
  const __wasi_errno_t error = __wasi_path_open(parent, (__wasi_lookupflags_t)lookup, path,
                                                (__wasi_oflags_t)oflags, rights, 0, 0, &fd);
  if (error == SUCCESS) OK(__wasi_fd_close(fd));
  return error;
}
static inline __wasi_errno_t try_open(const char* path, int lookup, int oflags) {
  return try_open_at(RW, path, lookup, oflags, READ_RIGHTS);
}

static inline size_t write_bytes(int fd, const void* bytes, size_t size) {
  const __wasi_ciovec_t buffer = {(const uint8_t*)bytes, size};
  __wasi_size_t done = 0;
  OK(__wasi_fd_write(fd, &buffer, 1, &done));
  return done;
}
static inline void write_text(int fd, const char* text) {
  CHECK(write_bytes(fd, text, strlen(text)) == strlen(text));
}
static inline size_t read_bytes(int fd, void* bytes, size_t size) {
  const __wasi_iovec_t buffer = {(uint8_t*)bytes, size};
  __wasi_size_t done = 0;
  OK(__wasi_fd_read(fd, &buffer, 1, &done));
  return done;
}
static inline __wasi_errno_t try_read(int fd) {
  uint8_t byte;
  const __wasi_iovec_t buffer = {&byte, 1};
  __wasi_size_t done = 0;
  return __wasi_fd_read(fd, &buffer, 1, &done);
}
static inline __wasi_errno_t try_write(int fd) {
  const __wasi_ciovec_t buffer = {(const uint8_t*)"x", 1};
  __wasi_size_t done = 0;
  return __wasi_fd_write(fd, &buffer, 1, &done);
}

static inline void create_file(const char* path, const char* text) {
  const int fd = open_new(path);
  write_text(fd, text);
  OK(__wasi_fd_close(fd));
}
static inline uint64_t seek_to(int fd, int64_t offset, int whence) {
  __wasi_filesize_t position = 0;
  OK(__wasi_fd_seek(fd, offset, (__wasi_whence_t)whence, &position));
  return position;
}
static inline uint64_t tell(int fd) {
  __wasi_filesize_t position = 0;
  OK(__wasi_fd_tell(fd, &position));
  return position;
}
static inline __wasi_filestat_t stat_fd(int fd) {
  __wasi_filestat_t stat;
  OK(__wasi_fd_filestat_get(fd, &stat));
  return stat;
}
static inline __wasi_filestat_t stat_path(const char* path, int lookup) {
  __wasi_filestat_t stat;
  OK(__wasi_path_filestat_get(RW, (__wasi_lookupflags_t)lookup, path, &stat));
  return stat;
}
static inline __wasi_errno_t try_stat(const char* path, int lookup) {
  __wasi_filestat_t stat;
  return __wasi_path_filestat_get(RW, (__wasi_lookupflags_t)lookup, path, &stat);
}
// The file has this content, all of it.
static inline int has_content(const char* path, const char* text) {
  static char content[4096];
  const int fd = open_flags(path, 0, 0);
  const size_t size = read_bytes(fd, content, sizeof content);
  OK(__wasi_fd_close(fd));
  return size == strlen(text) && memcmp(content, text, size) == 0;
}
