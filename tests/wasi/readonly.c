// A directory that is mapped for reading: nothing in it changes, whatever is tried.
// It holds "file", "directory/below", "empty" (a directory) and "link" to "file".

#include "check.h"
#include "raw.h"

static __wasi_errno_t try_at_ro(const char* path, int lookup, int oflags, __wasi_rights_t rights) {
  return try_open_at(RO, path, lookup, oflags, rights);
}

static void read_it(void) {
  int fd = -1;
  OK(__wasi_path_open(RO, 0, "file", 0, READ_RIGHTS, 0, 0, &fd));
  char text[16];
  CHECK(read_bytes(fd, text, 16) == 9 && memcmp(text, "read only", 9) == 0);
  OK(try_at_ro("directory/below", 0, 0, READ_RIGHTS));
  OK(try_at_ro("link", FOLLOW, 0, READ_RIGHTS));
  OK(try_at_ro("directory", 0, O_DIR, READ_RIGHTS));
  __wasi_filestat_t stat;
  OK(__wasi_path_filestat_get(RO, 0, "file", &stat));
  __wasi_size_t done;
  uint8_t bytes[512];
  OK(__wasi_path_readlink(RO, "link", bytes, 512, &done));
  OK(__wasi_fd_readdir(RO, bytes, 512, 0, &done));
  GIVES(try_at_ro("missing", 0, 0, READ_RIGHTS), NOENT);
}

static void open_for_writing(void) {
  GIVES(try_at_ro("file", 0, 0, __WASI_RIGHTS_FD_WRITE), ROFS);
  GIVES(try_at_ro("file", 0, 0, FILE_RIGHTS), ROFS);
  GIVES(try_at_ro("link", FOLLOW, 0, __WASI_RIGHTS_FD_WRITE), ROFS);
  GIVES(try_at_ro("directory/below", 0, 0, __WASI_RIGHTS_FD_WRITE), ROFS);
  GIVES(try_at_ro("file", 0, 0, __WASI_RIGHTS_FD_FILESTAT_SET_SIZE), ROFS, SUCCESS);
  GIVES(try_at_ro("file", 0, 0, __WASI_RIGHTS_FD_ALLOCATE), ROFS, SUCCESS);
}

static void create(void) {
  GIVES(try_at_ro("new", 0, O_CREATE, 0), ROFS);
  GIVES(try_at_ro("new", 0, O_CREATE, FILE_RIGHTS), ROFS);
  GIVES(try_at_ro("new", 0, O_CREATE | O_EXCLUSIVE, READ_RIGHTS), ROFS);
  GIVES(try_at_ro("directory/new", 0, O_CREATE, READ_RIGHTS), ROFS);
  GIVES(try_at_ro("file", 0, O_CREATE, READ_RIGHTS), ROFS, SUCCESS);  // it is there: nothing to create
  GIVES(try_at_ro("file", 0, O_CREATE | O_EXCLUSIVE, READ_RIGHTS), ROFS, EXIST);
}

static void truncate(void) {
  GIVES(try_at_ro("file", 0, O_TRUNCATE, 0), ROFS);
  GIVES(try_at_ro("file", 0, O_TRUNCATE, READ_RIGHTS), ROFS);
  GIVES(try_at_ro("file", 0, O_TRUNCATE, FILE_RIGHTS), ROFS);
  GIVES(try_at_ro("link", FOLLOW, O_TRUNCATE, FILE_RIGHTS), ROFS);
  GIVES(try_at_ro("new", 0, O_TRUNCATE | O_CREATE, FILE_RIGHTS), ROFS);
}

// What was opened for reading cannot be changed by its descriptor, either.
static void by_descriptor(void) {
  int fd = -1;
  OK(__wasi_path_open(RO, 0, "file", 0, READ_RIGHTS, 0, 0, &fd));
  const __wasi_ciovec_t out = {(const uint8_t*)"x", 1};
  __wasi_size_t done;
  GIVES(__wasi_fd_write(fd, &out, 1, &done), ROFS, NOTCAPABLE, BADF);
  GIVES(__wasi_fd_pwrite(fd, &out, 1, 0, &done), ROFS, NOTCAPABLE, BADF);
  GIVES(__wasi_fd_filestat_set_size(fd, 0), ROFS, NOTCAPABLE, BADF);
  GIVES(__wasi_fd_allocate(fd, 0, 100), ROFS, NOTCAPABLE, BADF);
  GIVES(__wasi_fd_filestat_set_times(fd, 1, 1, 5), ROFS, NOTCAPABLE);
  GIVES(__wasi_fd_fdstat_set_rights(fd, FILE_RIGHTS, FILE_RIGHTS), NOTCAPABLE);
  int directory = -1;
  OK(__wasi_path_open(RO, 0, "directory", O_DIR, base_rights(RO), inheriting_rights(RO), 0, &directory));
  GIVES(__wasi_fd_filestat_set_times(directory, 1, 1, 5), ROFS, NOTCAPABLE);
  GIVES(__wasi_fd_filestat_set_times(RO, 1, 1, 5), ROFS, NOTCAPABLE);
  // A directory below it is as it is.
  GIVES(try_open_at(directory, "new", 0, O_CREATE, 0), ROFS, NOTCAPABLE);
  GIVES(try_open_at(directory, "below", 0, 0, __WASI_RIGHTS_FD_WRITE), ROFS, NOTCAPABLE);
  GIVES(__wasi_path_unlink_file(directory, "below"), ROFS, NOTCAPABLE);
  GIVES(__wasi_path_create_directory(directory, "new"), ROFS, NOTCAPABLE);
  GIVES(__wasi_path_filestat_set_times(directory, 0, "below", 1, 1, 5), ROFS, NOTCAPABLE);
  // Nor does a new number help.
  const int number = open_new("number");
  OK(__wasi_fd_renumber(directory, number));
  GIVES(__wasi_path_unlink_file(number, "below"), ROFS, NOTCAPABLE);
  const int writable = open_directory(RW, ".");
  OK(__wasi_fd_renumber(RO, writable));
  GIVES(__wasi_path_unlink_file(writable, "file"), ROFS, NOTCAPABLE);
}

static void directories(void) {
  GIVES(__wasi_path_create_directory(RO, "new"), ROFS);
  GIVES(__wasi_path_create_directory(RO, "directory/new"), ROFS);
  GIVES(__wasi_path_create_directory(RO, "directory"), ROFS, EXIST);
  GIVES(__wasi_path_remove_directory(RO, "empty"), ROFS);
  GIVES(__wasi_path_remove_directory(RO, "directory"), ROFS);
}

static void unlink_files(void) {
  GIVES(__wasi_path_unlink_file(RO, "file"), ROFS);
  GIVES(__wasi_path_unlink_file(RO, "link"), ROFS);
  GIVES(__wasi_path_unlink_file(RO, "directory/below"), ROFS);
}

static void rename_files(void) {
  create_file("own", "own");
  GIVES(__wasi_path_rename(RO, "file", RO, "new"), ROFS);
  GIVES(__wasi_path_rename(RO, "file", RW, "stolen"), ROFS);
  GIVES(__wasi_path_rename(RW, "own", RO, "new"), ROFS);
  GIVES(__wasi_path_rename(RW, "own", RO, "file"), ROFS);
  GIVES(__wasi_path_rename(RO, "empty", RW, "stolen"), ROFS);
  CHECK(has_content("own", "own"));
}

// A second name in a directory where one may write would make the file writable.
static void hard_links(void) {
  create_file("own", "own");
  GIVES(__wasi_path_link(RO, 0, "file", RW, "stolen"), ROFS, PERM, XDEV, NOTCAPABLE);
  GIVES(__wasi_path_link(RO, 0, "directory/below", RW, "stolen"), ROFS, PERM, XDEV, NOTCAPABLE);
  GIVES(__wasi_path_link(RO, 0, "link", RW, "stolen"), ROFS, PERM, XDEV, NOTCAPABLE);
  GIVES(__wasi_path_link(RO, FOLLOW, "link", RW, "stolen"), ROFS, PERM, XDEV, NOTCAPABLE, INVAL);
  GIVES(__wasi_path_link(RO, 0, "file", RO, "new"), ROFS);
  GIVES(__wasi_path_link(RW, 0, "own", RO, "new"), ROFS);
  int directory = -1;
  OK(__wasi_path_open(RO, 0, "directory", O_DIR, base_rights(RO), inheriting_rights(RO), 0, &directory));
  GIVES(__wasi_path_link(directory, 0, "below", RW, "stolen"), ROFS, PERM, XDEV, NOTCAPABLE);
  GIVES(try_stat("stolen", 0), NOENT);
}

static void symlinks(void) {
  GIVES(__wasi_path_symlink("file", RO, "new"), ROFS);
  GIVES(__wasi_path_symlink("file", RO, "directory/new"), ROFS);
}

static void set_times(void) {
  GIVES(__wasi_path_filestat_set_times(RO, 0, "file", 1, 1, 5), ROFS);
  GIVES(__wasi_path_filestat_set_times(RO, 0, "link", 1, 1, 5), ROFS);
  GIVES(__wasi_path_filestat_set_times(RO, FOLLOW, "link", 1, 1, 5), ROFS);
  GIVES(__wasi_path_filestat_set_times(RO, 0, "directory", 1, 1, 10), ROFS);
  GIVES(__wasi_path_filestat_set_times(RO, 0, ".", 1, 1, 10), ROFS);
}

CASES_MAIN(CASE(read_it), CASE(open_for_writing), CASE(create), CASE(truncate), CASE(by_descriptor),
           CASE(directories), CASE(unlink_files), CASE(rename_files), CASE(hard_links), CASE(symlinks),
           CASE(set_times))
