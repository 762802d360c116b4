// Paths: how they are written, and what can be done to what they name.

#include "check.h"
#include "raw.h"

static __wasi_errno_t open_bytes(const char* path, size_t size, int oflags) {
  int fd = -1;
  const int error = raw_path_open(RW, 0, at(path), size, (unsigned)oflags, READ_RIGHTS, 0, 0, at(&fd));
  if (error == SUCCESS) OK(__wasi_fd_close(fd));
  return (__wasi_errno_t)error;
}

// --- spelling -------------------------------------------------------------------------------------------

static void spellings(void) {
  OK(__wasi_path_create_directory(RW, "a"));
  OK(__wasi_path_create_directory(RW, "a/b"));
  create_file("a/b/file", "abc");
  const char* const good[] = {"a/b/file",           "./a/b/file",
                              "a//b///file",        "a/./b/./file",
                              "a/b/../b/file",      "a/../a/b/file",
                              "a/b/../../a/b/file", "./././a/b/file",
                              "a/b/./../b/file",    "./a/.//b/../../a/b/../b///./file"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    OK(try_open(good[i], 0, 0));
    OK(try_stat(good[i], 0));
  }
  const char* const directories[] = {".",   "./",   "a",         "a/",         "a//",
                                     "a/.", "a/..", "a/b/../..", "a/b/../../", "././."};
  for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++) {
    OK(try_open(directories[i], 0, O_DIR));
    CHECK(stat_path(directories[i], 0).filetype == __WASI_FILETYPE_DIRECTORY);
  }
  CHECK(stat_path("a/..", 0).ino == stat_fd(RW).ino);
  GIVES(try_open("a/missing/../b/file", 0, 0), NOENT);  // components are not struck out
  GIVES(try_open("a/b/file/../file", 0, 0), NOTDIR);
  GIVES(try_open("a/b/file/.", 0, 0), NOTDIR);
  GIVES(try_open("A/b/file", 0, 0), NOENT);
}

static void trailing_slashes(void) {
  create_file("file", "abc");
  OK(__wasi_path_create_directory(RW, "directory"));
  OK(__wasi_path_symlink("directory", RW, "link"));
  GIVES(try_open("file/", 0, 0), NOTDIR);
  GIVES(try_open("file///", 0, 0), NOTDIR);
  GIVES(try_open("new/", 0, O_CREATE), ISDIR, NOENT, NOTDIR, INVAL);
  GIVES(try_stat("new", 0), NOENT);
  OK(try_open("directory/", 0, 0));
  OK(try_open("link/", FOLLOW, O_DIR));
  GIVES(try_stat("file/", 0), NOTDIR);
  CHECK(stat_path("directory/", 0).filetype == __WASI_FILETYPE_DIRECTORY);
  CHECK(stat_path("link/", FOLLOW).filetype == __WASI_FILETYPE_DIRECTORY);
  GIVES(__wasi_path_filestat_set_times(RW, 0, "file/", 1, 1, __WASI_FSTFLAGS_MTIM), NOTDIR);
  GIVES(__wasi_path_unlink_file(RW, "file/"), NOTDIR);
  GIVES(__wasi_path_unlink_file(RW, "directory/"), ISDIR, PERM);
  GIVES(__wasi_path_rename(RW, "file/", RW, "new"), NOTDIR);
  GIVES(__wasi_path_rename(RW, "file", RW, "new/"), NOTDIR);
  GIVES(__wasi_path_link(RW, 0, "file/", RW, "new"), NOTDIR);
  GIVES(__wasi_path_link(RW, 0, "file", RW, "new/"), NOENT);
  GIVES(__wasi_path_symlink("file", RW, "new/"), NOENT);
  GIVES(try_stat("new", 0), NOENT);
  CHECK(has_content("file", "abc"));
}

static void empty(void) {
  __wasi_filestat_t stat;
  __wasi_size_t done;
  uint8_t bytes[8];
  GIVES(try_open("", 0, 0), NOENT, INVAL);
  GIVES(try_open("", 0, O_CREATE), NOENT, INVAL);
  GIVES(try_open("", 0, O_DIR), NOENT, INVAL);
  GIVES(__wasi_path_filestat_get(RW, 0, "", &stat), NOENT, INVAL);
  GIVES(__wasi_path_filestat_get(RW, FOLLOW, "", &stat), NOENT, INVAL);
  GIVES(__wasi_path_filestat_set_times(RW, 0, "", 1, 1, __WASI_FSTFLAGS_MTIM), NOENT, INVAL);
  GIVES(__wasi_path_create_directory(RW, ""), NOENT, INVAL);
  GIVES(__wasi_path_remove_directory(RW, ""), NOENT, INVAL);
  GIVES(__wasi_path_unlink_file(RW, ""), NOENT, INVAL);
  GIVES(__wasi_path_rename(RW, "", RW, "new"), NOENT, INVAL);
  GIVES(__wasi_path_readlink(RW, "", bytes, 8, &done), NOENT, INVAL);
  GIVES(__wasi_path_symlink("target", RW, ""), NOENT, INVAL);
  GIVES(__wasi_path_symlink("", RW, "new"), NOENT, INVAL);
  create_file("file", "");
  GIVES(__wasi_path_rename(RW, "file", RW, ""), NOENT, INVAL);
  GIVES(__wasi_path_link(RW, 0, "", RW, "new"), NOENT, INVAL);
  GIVES(__wasi_path_link(RW, 0, "file", RW, ""), NOENT, INVAL);
}

static void long_paths(void) {
  static char name[300];
  memset(name, 'n', 255);
  OK(try_open_at(RW, name, 0, O_CREATE, FILE_RIGHTS));
  name[255] = 'n';
  GIVES(try_open_at(RW, name, 0, O_CREATE, FILE_RIGHTS), NAMETOOLONG);
  GIVES(try_stat(name, 0), NAMETOOLONG);
  GIVES(__wasi_path_create_directory(RW, name), NAMETOOLONG);
  GIVES(__wasi_path_unlink_file(RW, name), NAMETOOLONG);

  create_file("file", "abc");
  static char path[70000];
  for (size_t i = 0; i < sizeof path; i += 2) memcpy(path + i, "./", 2);
  memcpy(path + 4000, "file", 5);
  OK(try_open(path, 0, 0));
  memcpy(path + 4000, "././.", 5);
  const size_t lengths[] = {4096, 4097, 5000, 65536, 69990};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    GIVES(open_bytes(path, lengths[i], 0), NAMETOOLONG);
  }
  __wasi_filestat_t stat;
  GIVES(raw_path_filestat_get(RW, 0, at(path), 5000, at(&stat)), NAMETOOLONG);
  GIVES(raw_path_create_directory(RW, at(path), 5000), NAMETOOLONG);
  GIVES(raw_path_symlink(at(path), 5000, RW, at("new"), 3), NAMETOOLONG);
  GIVES(raw_path_rename(RW, at("file"), 4, RW, at(path), 5000), NAMETOOLONG);
  CHECK(has_content("file", "abc"));
}

// A zero byte ends no path: "file\0.txt" is not "file".
static void zero_bytes(void) {
  create_file("file", "abc");
  OK(__wasi_path_create_directory(RW, "directory"));
  __wasi_filestat_t stat;
  uint8_t bytes[8];
  __wasi_size_t done;
  const char* const path = "file\0.txt";
  GIVES(open_bytes(path, 5, 0), INVAL, ILSEQ, NOENT);
  GIVES(open_bytes(path, 9, 0), INVAL, ILSEQ, NOENT);
  GIVES(open_bytes(path, 9, O_CREATE), INVAL, ILSEQ, NOENT);
  GIVES(open_bytes("\0file", 5, O_CREATE), INVAL, ILSEQ, NOENT);
  GIVES(open_bytes("\0", 1, 0), INVAL, ILSEQ, NOENT);
  GIVES(raw_path_filestat_get(RW, 0, at(path), 5, at(&stat)), INVAL, ILSEQ, NOENT);
  GIVES(raw_path_filestat_set_times(RW, 0, at(path), 5, 1, 1, 4), INVAL, ILSEQ, NOENT);
  GIVES(raw_path_create_directory(RW, at("new\0"), 4), INVAL, ILSEQ);
  GIVES(raw_path_remove_directory(RW, at("directory\0"), 10), INVAL, ILSEQ, NOENT);
  GIVES(raw_path_unlink_file(RW, at(path), 5), INVAL, ILSEQ, NOENT);
  GIVES(raw_path_rename(RW, at(path), 5, RW, at("new"), 3), INVAL, ILSEQ, NOENT);
  GIVES(raw_path_rename(RW, at("file"), 4, RW, at("new\0x"), 5), INVAL, ILSEQ);
  GIVES(raw_path_link(RW, 0, at(path), 5, RW, at("new"), 3), INVAL, ILSEQ, NOENT);
  GIVES(raw_path_link(RW, 0, at("file"), 4, RW, at("new\0x"), 5), INVAL, ILSEQ);
  GIVES(raw_path_symlink(at(path), 5, RW, at("new"), 3), INVAL, ILSEQ);
  GIVES(raw_path_symlink(at("file"), 4, RW, at("new\0x"), 5), INVAL, ILSEQ);
  GIVES(raw_path_readlink(RW, at(path), 5, at(bytes), 8, at(&done)), INVAL, ILSEQ, NOENT);
  GIVES(try_stat("new", 0), NOENT);
  CHECK(has_content("file", "abc"));
}

// Names are bytes to the kernel, text to the specification; what is text must work.
static void text(void) {
  const char* const names[] = {"\xc3\xa4\xc3\xb6\xc3\xbc",
                               "\xf0\x9f\x8d\x84",
                               " ",
                               "a b",
                               "\n",
                               "\\",
                               "c:",
                               "-",
                               "~",
                               "...",
                               "..a",
                               "a..",
                               ".hidden",
                               "*",
                               "'\"$(x)"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    create_file(names[i], names[i]);
    CHECK(has_content(names[i], names[i]));
    OK(__wasi_path_unlink_file(RW, names[i]));
  }
  GIVES(open_bytes("\xff\xfe", 2, O_CREATE), SUCCESS, ILSEQ, INVAL);
  GIVES(open_bytes("\xc3", 1, O_CREATE), SUCCESS, ILSEQ, INVAL);
}

// --- what paths name ------------------------------------------------------------------------------------

static void filestat(void) {
  create_file("file", "abc");
  OK(__wasi_path_create_directory(RW, "directory"));
  OK(__wasi_path_symlink("file", RW, "link"));
  OK(__wasi_path_symlink("missing", RW, "dangling"));
  CHECK(stat_path("file", 0).filetype == __WASI_FILETYPE_REGULAR_FILE && stat_path("file", 0).size == 3);
  CHECK(stat_path("directory", 0).filetype == __WASI_FILETYPE_DIRECTORY);
  CHECK(stat_path("link", 0).filetype == __WASI_FILETYPE_SYMBOLIC_LINK && stat_path("link", 0).size == 4);
  CHECK(stat_path("link", FOLLOW).ino == stat_path("file", 0).ino);
  CHECK(stat_path("dangling", 0).filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
  GIVES(try_stat("dangling", FOLLOW), NOENT);
  GIVES(try_stat("missing", 0), NOENT);
  GIVES(try_stat("file/below", 0), NOTDIR);
  GIVES(try_stat("directory/missing/below", 0), NOENT);
  CHECK(stat_path(".", 0).ino == stat_fd(RW).ino);
}

static void set_times(void) {
  const uint64_t second = 1000000000;
  const __wasi_fstflags_t both = __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM;
  create_file("file", "abc");
  OK(__wasi_path_create_directory(RW, "directory"));
  OK(__wasi_path_symlink("file", RW, "link"));
  OK(__wasi_path_symlink("missing", RW, "dangling"));
  OK(__wasi_path_filestat_set_times(RW, 0, "file", 5 * second + 1, 7 * second + 2, both));
  CHECK(stat_path("file", 0).atim == 5 * second + 1 && stat_path("file", 0).mtim == 7 * second + 2);
  OK(__wasi_path_filestat_set_times(RW, 0, "directory", 5 * second, 7 * second, __WASI_FSTFLAGS_MTIM));
  CHECK(stat_path("directory", 0).mtim == 7 * second);

  // The link itself, then what it leads to.
  OK(__wasi_path_filestat_set_times(RW, 0, "link", 9 * second, 11 * second, both));
  CHECK(stat_path("link", 0).mtim == 11 * second && stat_path("file", 0).mtim == 7 * second + 2);
  OK(__wasi_path_filestat_set_times(RW, FOLLOW, "link", 13 * second, 15 * second, both));
  CHECK(stat_path("link", 0).mtim == 11 * second && stat_path("file", 0).mtim == 15 * second);
  OK(__wasi_path_filestat_set_times(RW, 0, "dangling", 9 * second, 11 * second, both));
  GIVES(__wasi_path_filestat_set_times(RW, FOLLOW, "dangling", 1, 1, both), NOENT);
  GIVES(__wasi_path_filestat_set_times(RW, 0, "missing", 1, 1, both), NOENT);

  OK(__wasi_path_filestat_set_times(RW, 0, "file", 1, 1, __WASI_FSTFLAGS_ATIM_NOW));
  CHECK(stat_path("file", 0).atim > 1700000000 * second && stat_path("file", 0).mtim == 15 * second);
  OK(__wasi_path_filestat_set_times(RW, 0, "file", 17 * second, 1,
                                    __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM_NOW));
  CHECK(stat_path("file", 0).atim == 17 * second && stat_path("file", 0).mtim > 1700000000 * second);

  OK(__wasi_path_filestat_set_times(RW, 0, "file", second, second, both));
  GIVES(__wasi_path_filestat_set_times(RW, 0, "file", 2, 2, both | __WASI_FSTFLAGS_ATIM_NOW), INVAL);
  GIVES(__wasi_path_filestat_set_times(RW, 0, "file", 2, 2, both | __WASI_FSTFLAGS_MTIM_NOW), INVAL);
  GIVES(raw_path_filestat_set_times(RW, 0, at("file"), 4, 2, 2, 16), INVAL);
  CHECK(stat_path("file", 0).atim == second && stat_path("file", 0).mtim == second);
}

static void unlink_files(void) {
  create_file("file", "abc");
  OK(__wasi_path_create_directory(RW, "directory"));
  create_file("directory/file", "abc");
  OK(__wasi_path_symlink("directory/file", RW, "link"));
  OK(__wasi_path_symlink("directory", RW, "directory_link"));
  OK(__wasi_path_symlink("missing", RW, "dangling"));
  GIVES(__wasi_path_unlink_file(RW, "missing"), NOENT);
  GIVES(__wasi_path_unlink_file(RW, "missing/file"), NOENT);
  GIVES(__wasi_path_unlink_file(RW, "file/below"), NOTDIR);
  GIVES(__wasi_path_unlink_file(RW, "directory"), ISDIR, PERM);
  GIVES(__wasi_path_unlink_file(RW, "."), ISDIR, INVAL, BUSY, PERM);
  GIVES(__wasi_path_unlink_file(RW, "directory/.."), ISDIR, INVAL, BUSY, PERM);
  OK(__wasi_path_unlink_file(RW, "link"));  // the link, not the file
  CHECK(has_content("directory/file", "abc"));
  OK(__wasi_path_unlink_file(RW, "dangling"));
  OK(__wasi_path_unlink_file(RW, "directory_link/file"));  // a link in the middle is followed
  GIVES(try_stat("directory/file", 0), NOENT);
  OK(__wasi_path_unlink_file(RW, "directory_link"));
  CHECK(stat_path("directory", 0).filetype == __WASI_FILETYPE_DIRECTORY);
  OK(__wasi_path_unlink_file(RW, "file"));
  GIVES(__wasi_path_unlink_file(RW, "file"), NOENT);
}

static void rename_files(void) {
  create_file("a", "a");
  create_file("b", "b");
  OK(__wasi_path_create_directory(RW, "directory"));
  OK(__wasi_path_rename(RW, "a", RW, "new"));
  CHECK(has_content("new", "a"));
  GIVES(try_stat("a", 0), NOENT);
  OK(__wasi_path_rename(RW, "new", RW, "b"));  // over another one
  CHECK(has_content("b", "a"));
  OK(__wasi_path_rename(RW, "b", RW, "b"));
  CHECK(has_content("b", "a"));
  GIVES(__wasi_path_rename(RW, "missing", RW, "b"), NOENT);
  GIVES(__wasi_path_rename(RW, "b", RW, "missing/b"), NOENT);
  GIVES(__wasi_path_rename(RW, "b", RW, "b/below"), NOTDIR);
  GIVES(__wasi_path_rename(RW, "b", RW, "directory"), ISDIR);
  GIVES(__wasi_path_rename(RW, "b", RW, "."), BUSY, INVAL, EXIST);
  GIVES(__wasi_path_rename(RW, ".", RW, "new"), BUSY, INVAL);
  OK(__wasi_path_rename(RW, "b", RW, "directory/b"));
  CHECK(has_content("directory/b", "a"));
  const int fd = open_directory(RW, "directory");
  OK(__wasi_path_rename(fd, "b", RW, "back"));
  CHECK(has_content("back", "a"));
  OK(__wasi_path_link(RW, 0, "back", RW, "twin"));
  OK(__wasi_path_rename(RW, "back", RW, "twin"));  // two names of one file: nothing happens
  CHECK(has_content("back", "a") && has_content("twin", "a"));
  OK(__wasi_path_symlink("twin", RW, "link"));
  OK(__wasi_path_rename(RW, "link", RW, "moved"));  // the link, not the file
  CHECK(stat_path("moved", 0).filetype == __WASI_FILETYPE_SYMBOLIC_LINK && has_content("twin", "a"));
  create_file("c", "c");
  OK(__wasi_path_rename(RW, "c", RW, "moved"));  // over a link: the file stays
  CHECK(has_content("moved", "c") && has_content("twin", "a"));
}

static void rename_directories(void) {
  OK(__wasi_path_create_directory(RW, "a"));
  OK(__wasi_path_create_directory(RW, "empty"));
  OK(__wasi_path_create_directory(RW, "full"));
  create_file("full/file", "x");
  create_file("a/file", "y");
  GIVES(__wasi_path_rename(RW, "a", RW, "a/below"), INVAL);
  GIVES(__wasi_path_rename(RW, "a", RW, "full"), NOTEMPTY, EXIST);
  GIVES(__wasi_path_rename(RW, "a", RW, "full/file"), NOTDIR);
  GIVES(__wasi_path_rename(RW, "a/file", RW, "empty"), ISDIR);
  OK(__wasi_path_rename(RW, "a", RW, "empty"));
  CHECK(has_content("empty/file", "y"));
  OK(__wasi_path_rename(RW, "empty/", RW, "new/"));
  CHECK(has_content("new/file", "y"));
  const int fd = open_directory(RW, "new");
  OK(__wasi_path_rename(RW, "new", RW, "full/new"));
  OK(try_open_at(fd, "file", 0, 0, READ_RIGHTS));  // a descriptor goes where its directory goes
  CHECK(has_content("full/new/file", "y"));
}

CASES_MAIN(CASE(spellings), CASE(trailing_slashes), CASE(empty), CASE(long_paths), CASE(zero_bytes),
           CASE(text), CASE(filestat), CASE(set_times), CASE(unlink_files), CASE(rename_files),
           CASE(rename_directories))
