// Runs against a host that renames directories: 'escape_race.wasm ROUNDS'.
//
// /rw/secret and /rw/x/secret are the guest's own, "inside"; files called secret outside are not.  a/b is
// moved out of /rw and back, and /rw/flip changes between a directory and a symlink that leads out.  Whatever
// is opened is read, and must be "inside".  Prints how often what happened.

#include "check.h"
#include "raw.h"

// The long ones take so much time that many renames fall into it: a plain openat() opens the wrong file by
// them some times in a thousand, and never by the short ones.
enum { PATHS = 7, LONG = 3800 };
static char long_paths[3][LONG + 100];
static const char* const kPaths[PATHS] = {"a/b/../../secret", "a/b/c/../../../secret", "flip/secret",
                                          "flip/../secret",   long_paths[0],           long_paths[1],
                                          long_paths[2]};

static void make_long_path(char* path, const char* begin, const char* middle, const char* end) {
  strcpy(path, begin);
  while (strlen(path) < LONG) strcat(path, middle);
  strcat(path, end);
}

static unsigned opened[PATHS];
static unsigned refused[PATHS];

static void leak(const char* path, const char* text, size_t size) {
  printf("LEAK %.40s [%.*s]\n", path, (int)size, text);
  exit(1);
}

static void try_path(int index) {
  int fd = -1;
  const __wasi_errno_t error = __wasi_path_open(RW, FOLLOW, kPaths[index], 0, READ_RIGHTS, 0, 0, &fd);
  GIVES(error, SUCCESS, NOENT, PERM, NOTCAPABLE, AGAIN, LOOP, NOTDIR);
  if (error != SUCCESS) {
    refused[index]++;
    return;
  }
  opened[index]++;
  char text[16];
  const size_t size = read_bytes(fd, text, sizeof text);
  if (size != 6 || memcmp(text, "inside", 6) != 0) leak(kPaths[index], text, size);
  OK(__wasi_fd_close(fd));
}

// Things are made and removed, too: the test sees whether that happened outside.
static void try_changes(void) {
  GIVES(__wasi_path_create_directory(RW, "flip/made"), SUCCESS, EXIST, NOENT, PERM, NOTCAPABLE, AGAIN, NOTDIR,
        LOOP);
  GIVES(__wasi_path_remove_directory(RW, "flip/made"), SUCCESS, NOENT, PERM, NOTCAPABLE, AGAIN, NOTDIR, LOOP);
  GIVES(try_open_at(RW, "flip/new", FOLLOW, O_CREATE, FILE_RIGHTS), SUCCESS, NOENT, PERM, NOTCAPABLE, AGAIN,
        LOOP, NOTDIR);
  GIVES(__wasi_path_unlink_file(RW, "flip/victim"), SUCCESS, NOENT, PERM, NOTCAPABLE, AGAIN, NOTDIR, LOOP);
  GIVES(__wasi_path_filestat_set_times(RW, FOLLOW, "flip/secret", 1, 1, 5), SUCCESS, NOENT, PERM, NOTCAPABLE,
        AGAIN, NOTDIR, LOOP);
}

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 1;
  make_long_path(long_paths[0], "a/b/", "./", "../../secret");
  make_long_path(long_paths[1], "a/b/c/", "../c/", "../../../secret");
  make_long_path(long_paths[2], "a/b/", ".//", "c/../../../secret");
  fputs("racing\n", stderr);
  for (int round = 0; round < rounds; round++) {
    for (int i = 0; i < PATHS; i++) try_path(i);
    try_changes();
  }
  for (int i = 0; i < PATHS; i++) printf("%.40s: %u opened, %u refused\n", kPaths[i], opened[i], refused[i]);
  return 0;
}
