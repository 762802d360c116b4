// Rights: what a descriptor may be used for.  They can be given up, and never be had back.

#include "check.h"
#include "raw.h"

#define RIGHT(name) __WASI_RIGHTS_##name

static int with_rights(const char* path, int oflags, __wasi_rights_t base) {
  int fd = -1;
  OK(__wasi_path_open(RW, 0, path, (__wasi_oflags_t)oflags, base, 0, 0, &fd));
  return fd;
}
static void drop(int fd, __wasi_rights_t base, __wasi_rights_t inheriting) {
  OK(__wasi_fd_fdstat_set_rights(fd, base_rights(fd) & ~base, inheriting_rights(fd) & ~inheriting));
}

// Programs look for these; wasi-libc refuses to use a directory that lacks them.
static void of_preopens(void) {
  const __wasi_rights_t directory =
      RIGHT(PATH_CREATE_DIRECTORY) | RIGHT(PATH_CREATE_FILE) | RIGHT(PATH_LINK_SOURCE) |
      RIGHT(PATH_LINK_TARGET) | RIGHT(PATH_OPEN) | RIGHT(FD_READDIR) | RIGHT(PATH_READLINK) |
      RIGHT(PATH_RENAME_SOURCE) | RIGHT(PATH_RENAME_TARGET) | RIGHT(PATH_SYMLINK) |
      RIGHT(PATH_REMOVE_DIRECTORY) | RIGHT(PATH_UNLINK_FILE) | RIGHT(PATH_FILESTAT_GET) |
      RIGHT(PATH_FILESTAT_SET_TIMES) | RIGHT(FD_FILESTAT_GET) | RIGHT(FD_FILESTAT_SET_TIMES);
  CHECK((base_rights(RW) & directory) == directory);
  CHECK((base_rights(RW) & (RIGHT(FD_SEEK) | RIGHT(FD_TELL) | RIGHT(FD_FILESTAT_SET_SIZE))) == 0);
  CHECK((inheriting_rights(RW) & (directory | FILE_RIGHTS)) == (directory | FILE_RIGHTS));
}

static void as_asked_for(void) {
  create_file("file", "abc");
  int fd = with_rights("file", 0, RIGHT(FD_READ));
  CHECK((base_rights(fd) & (RIGHT(FD_READ) | RIGHT(FD_WRITE))) == RIGHT(FD_READ));
  OK(try_read(fd));
  GIVES(try_write(fd), NOTCAPABLE, BADF);
  fd = with_rights("file", 0, RIGHT(FD_WRITE));
  CHECK((base_rights(fd) & (RIGHT(FD_READ) | RIGHT(FD_WRITE))) == RIGHT(FD_WRITE));
  GIVES(try_read(fd), NOTCAPABLE, BADF);
  OK(try_write(fd));
  fd = with_rights("file", 0, 0);
  GIVES(try_read(fd), NOTCAPABLE, BADF);
  GIVES(try_write(fd), NOTCAPABLE, BADF);
  GIVES(__wasi_fd_filestat_set_size(fd, 0), NOTCAPABLE, BADF, INVAL);
  fd = with_rights("new", O_CREATE, 0);
  GIVES(try_write(fd), NOTCAPABLE, BADF);
  fd = with_rights(".", O_DIR, RIGHT(FD_READ) | RIGHT(FD_SEEK) | RIGHT(FD_READDIR));
  CHECK((base_rights(fd) & (RIGHT(FD_SEEK) | RIGHT(FD_READDIR))) == RIGHT(FD_READDIR));
}

// One right after the other is dropped from a file; what needs it, and only that, is refused.
static void each_of_a_file(void) {
  uint8_t bytes[4];
  const __wasi_iovec_t in = {bytes, 1};
  const __wasi_ciovec_t out = {bytes, 1};
  __wasi_size_t done;
  __wasi_filesize_t position;
  __wasi_filestat_t stat;
  create_file("file", "abc");
  int fd = open_flags("file", 0, 0);
#define REFUSED_WITHOUT(right, call)            \
  OK(call);                                     \
  drop(fd, RIGHT(right), 0);                    \
  CHECK((base_rights(fd) & RIGHT(right)) == 0); \
  GIVES(call, NOTCAPABLE)
  REFUSED_WITHOUT(FD_DATASYNC, __wasi_fd_datasync(fd));
  REFUSED_WITHOUT(FD_SYNC, __wasi_fd_sync(fd));
  REFUSED_WITHOUT(FD_ADVISE, __wasi_fd_advise(fd, 0, 0, 0));
  REFUSED_WITHOUT(FD_ALLOCATE, __wasi_fd_allocate(fd, 0, 3));
  REFUSED_WITHOUT(FD_FDSTAT_SET_FLAGS, __wasi_fd_fdstat_set_flags(fd, 0));
  REFUSED_WITHOUT(FD_FILESTAT_GET, __wasi_fd_filestat_get(fd, &stat));
  REFUSED_WITHOUT(FD_FILESTAT_SET_SIZE, __wasi_fd_filestat_set_size(fd, 3));
  REFUSED_WITHOUT(FD_FILESTAT_SET_TIMES, __wasi_fd_filestat_set_times(fd, 0, 0, 0));
  REFUSED_WITHOUT(FD_WRITE, __wasi_fd_write(fd, &out, 1, &done));
  GIVES(__wasi_fd_pwrite(fd, &out, 1, 0, &done), NOTCAPABLE);
  REFUSED_WITHOUT(FD_READ, __wasi_fd_read(fd, &in, 1, &done));
  GIVES(__wasi_fd_pread(fd, &in, 1, 0, &done), NOTCAPABLE);
  REFUSED_WITHOUT(FD_SEEK, __wasi_fd_seek(fd, 1, 0, &position));
  REFUSED_WITHOUT(FD_TELL, __wasi_fd_tell(fd, &position));
  OK(__wasi_fd_close(fd));

  // Reading at a position is reading and seeking.
  fd = open_flags("file", 0, 0);
  OK(__wasi_fd_pread(fd, &in, 1, 0, &done));
  drop(fd, RIGHT(FD_SEEK), 0);
  GIVES(__wasi_fd_pread(fd, &in, 1, 0, &done), NOTCAPABLE);
  GIVES(__wasi_fd_pwrite(fd, &out, 1, 0, &done), NOTCAPABLE);
  OK(__wasi_fd_tell(fd, &position));
  OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_CUR, &position));  // tells, and moves nothing
  drop(fd, RIGHT(POLL_FD_READWRITE), 0);
  __wasi_subscription_t in_subscription = {.u.tag = __WASI_EVENTTYPE_FD_READ,
                                           .u.u.fd_read.file_descriptor = fd};
  __wasi_event_t event;
  OK(__wasi_poll_oneoff(&in_subscription, &event, 1, &done));
  CHECK(done == 1);
  GIVES(event.error, NOTCAPABLE);
}

static void each_of_a_directory(void) {
  uint8_t bytes[512];
  __wasi_size_t done;
  __wasi_filestat_t stat;
  create_file("file", "abc");
  OK(__wasi_path_symlink("file", RW, "link"));
  const int fd = open_directory(RW, ".");
  const int other = open_directory(RW, ".");

#undef REFUSED_WITHOUT
#define REFUSED_WITHOUT(right, call, undo) \
  OK(call);                                \
  undo;                                    \
  drop(fd, RIGHT(right), 0);               \
  GIVES(call, NOTCAPABLE)
  REFUSED_WITHOUT(PATH_CREATE_DIRECTORY, __wasi_path_create_directory(fd, "new"),
                  OK(__wasi_path_remove_directory(other, "new")));
  REFUSED_WITHOUT(PATH_CREATE_FILE, try_open_at(fd, "new", 0, O_CREATE, 0),
                  OK(__wasi_path_unlink_file(other, "new")));
  REFUSED_WITHOUT(PATH_LINK_SOURCE, __wasi_path_link(fd, 0, "file", other, "new"),
                  OK(__wasi_path_unlink_file(other, "new")));
  REFUSED_WITHOUT(PATH_LINK_TARGET, __wasi_path_link(other, 0, "file", fd, "new"),
                  OK(__wasi_path_unlink_file(other, "new")));
  REFUSED_WITHOUT(FD_READDIR, __wasi_fd_readdir(fd, bytes, 512, 0, &done), (void)0);
  REFUSED_WITHOUT(PATH_READLINK, __wasi_path_readlink(fd, "link", bytes, 512, &done), (void)0);
  REFUSED_WITHOUT(PATH_RENAME_SOURCE, __wasi_path_rename(fd, "file", other, "new"),
                  OK(__wasi_path_rename(other, "new", other, "file")));
  REFUSED_WITHOUT(PATH_RENAME_TARGET, __wasi_path_rename(other, "file", fd, "new"),
                  OK(__wasi_path_rename(other, "new", other, "file")));
  REFUSED_WITHOUT(PATH_FILESTAT_GET, __wasi_path_filestat_get(fd, 0, "file", &stat), (void)0);
  REFUSED_WITHOUT(PATH_FILESTAT_SET_TIMES, __wasi_path_filestat_set_times(fd, 0, "file", 0, 0, 0), (void)0);
  REFUSED_WITHOUT(PATH_FILESTAT_SET_SIZE, try_open_at(fd, "file", 0, O_TRUNCATE, FILE_RIGHTS), (void)0);
  REFUSED_WITHOUT(PATH_SYMLINK, __wasi_path_symlink("file", fd, "new"),
                  OK(__wasi_path_unlink_file(other, "new")));
  OK(__wasi_path_create_directory(other, "directory"));
  REFUSED_WITHOUT(PATH_REMOVE_DIRECTORY, __wasi_path_remove_directory(fd, "directory"),
                  OK(__wasi_path_create_directory(other, "directory")));
  REFUSED_WITHOUT(PATH_UNLINK_FILE, __wasi_path_unlink_file(fd, "file"), create_file("file", ""));
  REFUSED_WITHOUT(PATH_OPEN, try_open_at(fd, "file", 0, 0, 0), (void)0);
  REFUSED_WITHOUT(FD_FILESTAT_SET_TIMES, __wasi_fd_filestat_set_times(fd, 0, 0, 0), (void)0);
  REFUSED_WITHOUT(FD_FILESTAT_GET, __wasi_fd_filestat_get(fd, &stat), (void)0);
  GIVES(try_stat("new", 0), NOENT);
}

// What was given up does not come back: not by asking, not by another name, not by renumbering.
static void widening(void) {
  const int fd = open_new("file");
  const __wasi_rights_t base = base_rights(fd);
  const __wasi_rights_t inheriting = inheriting_rights(fd);
  OK(__wasi_fd_fdstat_set_rights(fd, base, inheriting));  // no change
  drop(fd, RIGHT(FD_WRITE), 0);
  GIVES(__wasi_fd_fdstat_set_rights(fd, base, inheriting), NOTCAPABLE);
  GIVES(__wasi_fd_fdstat_set_rights(fd, base_rights(fd) | RIGHT(FD_WRITE), inheriting_rights(fd)),
        NOTCAPABLE);
  GIVES(__wasi_fd_fdstat_set_rights(fd, UINT64_MAX, UINT64_MAX), NOTCAPABLE);
  GIVES(__wasi_fd_fdstat_set_rights(fd, 0, UINT64_MAX), NOTCAPABLE);
  CHECK(base_rights(fd) == (base & ~RIGHT(FD_WRITE)));  // what fails takes nothing away
  GIVES(try_write(fd), NOTCAPABLE);
  const int number = open_new("other");
  OK(__wasi_fd_renumber(fd, number));
  GIVES(try_write(number), NOTCAPABLE);
  OK(__wasi_fd_fdstat_set_rights(number, 0, 0));
  CHECK(base_rights(number) == 0 && inheriting_rights(number) == 0);
  GIVES(try_read(number), NOTCAPABLE);
  OK(__wasi_fd_close(number));  // that is always allowed
}

static void inheriting(void) {
  create_file("file", "abc");
  const int fd = open_directory(RW, ".");
  drop(fd, 0, RIGHT(FD_WRITE) | RIGHT(PATH_UNLINK_FILE));
  GIVES(try_open_at(fd, "file", 0, 0, RIGHT(FD_WRITE)), NOTCAPABLE);
  OK(try_open_at(fd, "file", 0, 0, RIGHT(FD_READ)));
  int file = -1;
  // Nor by a detour.  What is too much for the next descriptor to pass on is refused or left out.
  if (__wasi_path_open(fd, 0, ".", O_DIR, 0, RIGHT(FD_WRITE) | RIGHT(FD_READ), 0, &file) == SUCCESS) {
    CHECK(inheriting_rights(file) == RIGHT(FD_READ));
  }
  int below = -1;
  OK(__wasi_path_open(fd, 0, ".", O_DIR, base_rights(fd) & inheriting_rights(fd), inheriting_rights(fd), 0,
                      &below));
  GIVES(__wasi_path_open(below, 0, "file", 0, RIGHT(FD_WRITE), 0, 0, &file), NOTCAPABLE);
  CHECK((base_rights(below) & RIGHT(PATH_UNLINK_FILE)) == 0);
  GIVES(__wasi_path_unlink_file(below, "file"), NOTCAPABLE);
  OK(__wasi_path_unlink_file(fd, "file"));
  GIVES(__wasi_path_open(RW, 0, ".", 0, UINT64_MAX, 0, 0, &file), NOTCAPABLE, ISDIR, INVAL);
}

static void truncation(void) {
  create_file("file", "abc");
  OK(try_open_at(RW, "file", 0, O_TRUNCATE, 0));  // the directory's right, not the descriptor's
  CHECK(stat_path("file", 0).size == 0);
  const int fd = open_directory(RW, ".");
  drop(fd, RIGHT(PATH_FILESTAT_SET_SIZE), 0);
  GIVES(try_open_at(fd, "file", 0, O_TRUNCATE, 0), NOTCAPABLE, PERM);
}

static void of_streams(void) {
  for (int fd = 0; fd < 3; fd++) {
    CHECK((base_rights(fd) & (RIGHT(FD_SEEK) | RIGHT(FD_TELL))) == 0);  // by which libraries know a terminal
    CHECK(((base_rights(fd) & RIGHT(FD_READ)) != 0) == (fd == STDIN));
    CHECK(((base_rights(fd) & RIGHT(FD_WRITE)) != 0) == (fd != STDIN));
  }
  GIVES(try_write(STDIN), NOTCAPABLE, BADF);
  GIVES(try_read(STDOUT), NOTCAPABLE, BADF);
  GIVES(try_read(STDERR), NOTCAPABLE, BADF);
  drop(STDOUT, RIGHT(FD_WRITE), 0);
  GIVES(try_write(STDOUT), NOTCAPABLE);
  drop(STDIN, RIGHT(FD_READ), 0);
  GIVES(try_read(STDIN), NOTCAPABLE);
}

CASES_MAIN(CASE(of_preopens), CASE(as_asked_for), CASE(each_of_a_file), CASE(each_of_a_directory),
           CASE(widening), CASE(inheriting), CASE(truncation), CASE(of_streams))
