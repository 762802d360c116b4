// Symbolic links that stay inside, and hard links.  Those that lead out: escape.c.

#include "check.h"
#include "raw.h"

static size_t readlink_into(const char* path, void* buffer, size_t size) {
  __wasi_size_t used = 77;
  OK(__wasi_path_readlink(RW, path, (uint8_t*)buffer, size, &used));
  return used;
}

static void readlink_each(void) {
  OK(__wasi_path_symlink("target", RW, "link"));
  char text[10];
  memset(text, '.', sizeof text);
  CHECK(readlink_into("link", text, sizeof text) == 6);
  CHECK(memcmp(text, "target....", 10) == 0);
  memset(text, '.', sizeof text);
  CHECK(readlink_into("link", text, 6) == 6);
  CHECK(readlink_into("link", text, 4) == 4);  // cut off, and that is no error
  CHECK(memcmp(text, "target....", 10) == 0);
  memset(text, '.', sizeof text);
  CHECK(readlink_into("link", text, 1) == 1 && memcmp(text, "t.", 2) == 0);

  uint8_t buffer[8];
  __wasi_size_t used = 77;
  GIVES(__wasi_path_readlink(RW, "link", buffer, 0, &used), SUCCESS, INVAL);
  create_file("file", "abc");
  GIVES(__wasi_path_readlink(RW, "file", buffer, 8, &used), INVAL);
  GIVES(__wasi_path_readlink(RW, ".", buffer, 8, &used), INVAL);
  GIVES(__wasi_path_readlink(RW, "missing", buffer, 8, &used), NOENT);
  GIVES(__wasi_path_readlink(RW, "file/below", buffer, 8, &used), NOTDIR);
}

static void symlinks(void) {
  create_file("file", "abc");
  OK(__wasi_path_create_directory(RW, "directory"));
  create_file("directory/below", "def");
  OK(__wasi_path_symlink("file", RW, "to_file"));
  OK(__wasi_path_symlink("directory", RW, "to_directory"));
  OK(__wasi_path_symlink("../file", RW, "directory/up"));
  OK(__wasi_path_symlink("../directory/../to_file", RW, "directory/around"));
  GIVES(__wasi_path_symlink("other", RW, "to_file"), EXIST);
  GIVES(__wasi_path_symlink("other", RW, "file"), EXIST);
  GIVES(__wasi_path_symlink("other", RW, "directory"), EXIST);
  GIVES(__wasi_path_symlink("other", RW, "missing/link"), NOENT);
  GIVES(__wasi_path_symlink("/absolute", RW, "absolute"), PERM, NOTCAPABLE);
  GIVES(try_stat("absolute", 0), NOENT);

  OK(try_open("to_file", FOLLOW, 0));
  GIVES(try_open("to_file", 0, 0), LOOP);
  GIVES(try_open("to_file", FOLLOW, O_DIR), NOTDIR);
  OK(try_open("to_directory", FOLLOW, O_DIR));
  GIVES(try_open("to_directory", 0, O_DIR), LOOP, NOTDIR);
  OK(try_open("to_directory/below", 0, 0));  // in the middle they are followed always
  OK(try_open("directory/up", FOLLOW, 0));
  OK(try_open("to_directory/up", FOLLOW, 0));
  OK(try_open("directory/around", FOLLOW, 0));
  OK(try_open("to_directory/../file", 0, 0));
}

static void dangling(void) {
  OK(__wasi_path_symlink("target", RW, "link"));
  GIVES(try_open("link", FOLLOW, 0), NOENT);
  GIVES(try_open("link", 0, 0), LOOP);
  GIVES(try_open("link", 0, O_CREATE), LOOP);
  GIVES(try_open("link", 0, O_CREATE | O_EXCLUSIVE), EXIST);
  GIVES(try_open("link", FOLLOW, O_CREATE | O_EXCLUSIVE), EXIST);
  GIVES(try_stat("target", 0), NOENT);
  OK(try_open("link", FOLLOW, O_CREATE));  // makes the target
  CHECK(stat_path("target", 0).filetype == __WASI_FILETYPE_REGULAR_FILE);
}

static void loops(void) {
  OK(__wasi_path_symlink("self", RW, "self"));
  OK(__wasi_path_symlink("b", RW, "a"));
  OK(__wasi_path_symlink("a", RW, "b"));
  GIVES(try_open("self", FOLLOW, 0), LOOP);
  GIVES(try_open("self", 0, 0), LOOP);
  GIVES(try_open("a", FOLLOW, 0), LOOP);
  GIVES(try_open("a/below", 0, 0), LOOP);
  GIVES(try_stat("b", FOLLOW), LOOP);
  CHECK(stat_path("b", 0).filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
  GIVES(__wasi_path_filestat_set_times(RW, FOLLOW, "a", 1, 1, __WASI_FSTFLAGS_MTIM), LOOP);
  OK(__wasi_path_unlink_file(RW, "self"));
}

// Some links in a row are followed, a hundred are not.
static void chains(void) {
  create_file("link0", "abc");
  for (int i = 1; i <= 100; i++) {
    char target[16];
    char path[16];
    snprintf(target, sizeof target, "link%d", i - 1);
    snprintf(path, sizeof path, "link%d", i);
    OK(__wasi_path_symlink(target, RW, path));
  }
  OK(try_open("link1", FOLLOW, 0));
  OK(try_open("link8", FOLLOW, 0));
  GIVES(try_open("link100", FOLLOW, 0), LOOP);
  GIVES(try_stat("link100", FOLLOW), LOOP);
}

static void hard_links(void) {
  create_file("file", "abc");
  OK(__wasi_path_create_directory(RW, "directory"));
  OK(__wasi_path_link(RW, 0, "file", RW, "second"));
  CHECK(stat_path("file", 0).nlink == 2 && stat_path("file", 0).ino == stat_path("second", 0).ino);
  const int fd = open_directory(RW, "directory");
  OK(__wasi_path_link(RW, 0, "file", fd, "third"));
  CHECK(has_content("directory/third", "abc"));
  const int file = open_flags("second", 0, 0);
  write_text(file, "X");
  CHECK(has_content("directory/third", "Xbc"));
  OK(__wasi_path_unlink_file(RW, "file"));
  CHECK(stat_fd(file).nlink == 2);

  GIVES(__wasi_path_link(RW, 0, "second", RW, "directory/third"), EXIST);
  GIVES(__wasi_path_link(RW, 0, "second", RW, "second"), EXIST);
  GIVES(__wasi_path_link(RW, 0, "second", RW, "directory"), EXIST);
  GIVES(__wasi_path_link(RW, 0, "missing", RW, "new"), NOENT);
  GIVES(__wasi_path_link(RW, 0, "second", RW, "missing/new"), NOENT);
  GIVES(__wasi_path_link(RW, 0, "directory", RW, "new"), PERM);
  GIVES(__wasi_path_link(RW, 0, ".", RW, "new"), PERM, INVAL);
  GIVES(__wasi_path_link(RW, 0, "second", RW, "."), EXIST, INVAL);
  GIVES(raw_path_link(RW, 2, at("second"), 6, RW, at("new"), 3), INVAL);
  GIVES(try_stat("new", 0), NOENT);
}

// A hard link to a symbolic link is one, too; following is either refused or done.
static void hard_links_to_symlinks(void) {
  create_file("file", "abc");
  OK(__wasi_path_symlink("file", RW, "link"));
  OK(__wasi_path_link(RW, 0, "link", RW, "second"));
  CHECK(stat_path("second", 0).filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
  CHECK(stat_path("second", 0).ino == stat_path("link", 0).ino);
  const __wasi_errno_t error = __wasi_path_link(RW, FOLLOW, "link", RW, "third");
  GIVES(error, SUCCESS, INVAL);
  if (error == SUCCESS) CHECK(stat_path("third", 0).ino == stat_path("file", 0).ino);
  OK(__wasi_path_symlink("missing", RW, "dangling"));
  GIVES(__wasi_path_link(RW, FOLLOW, "dangling", RW, "fourth"), NOENT, INVAL);
  OK(__wasi_path_link(RW, 0, "dangling", RW, "fourth"));
  GIVES(__wasi_path_link(RW, 0, "file", RW, "dangling"), EXIST);
}

CASES_MAIN(CASE(readlink_each), CASE(symlinks), CASE(dangling), CASE(loops), CASE(chains), CASE(hard_links),
           CASE(hard_links_to_symlinks))
