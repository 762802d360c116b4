// Attempts to get out.  The test says what is tried: 'escape.wasm OPERATION WORDS...', on descriptor 3 or on
// that of "N:path".  Prints the error's name and, if a file was opened or a link read, what came of using it.

#include "check.h"
#include "raw.h"

struct place {
  int fd;
  const char* path;
};

static struct place place_of(const char* word) {
  if (word[0] >= '3' && word[0] <= '9' && word[1] == ':') return (struct place){word[0] - '0', word + 2};
  return (struct place){RW, word};
}

static int report(const char* what, int error) {
  printf("%s%s%s\n", what, what[0] != 0 ? " " : "", errno_name((unsigned)error));
  return 0;
}

static int open_it(struct place place, int lookup, int oflags, __wasi_rights_t rights) {
  int fd = -1;
  const __wasi_errno_t error = __wasi_path_open(place.fd, (__wasi_lookupflags_t)lookup, place.path,
                                                (__wasi_oflags_t)oflags, rights, 0, 0, &fd);
  report("", error);
  if (error != SUCCESS) return 0;
  static char content[256];
  const __wasi_iovec_t in = {(uint8_t*)content, sizeof content - 1};
  __wasi_size_t size = 0;
  if ((rights & __WASI_RIGHTS_FD_READ) != 0) report("read", __wasi_fd_read(fd, &in, 1, &size));
  if (size > 0) printf("[%.*s]\n", (int)size, content);
  if ((rights & __WASI_RIGHTS_FD_WRITE) != 0) report("write", try_write(fd));
  return 0;
}

static int stat_it(struct place place, int lookup) {
  __wasi_filestat_t stat;
  return report("", __wasi_path_filestat_get(place.fd, (__wasi_lookupflags_t)lookup, place.path, &stat));
}

static int read_link(struct place place) {
  static uint8_t target[256];
  __wasi_size_t size = 0;
  const __wasi_errno_t error = __wasi_path_readlink(place.fd, place.path, target, sizeof target, &size);
  report("", error);
  if (error == SUCCESS) printf("[%.*s]\n", (int)size, (char*)target);
  return 0;
}

static int list(struct place place) {
  int fd = -1;
  const __wasi_errno_t error =
      __wasi_path_open(place.fd, FOLLOW, place.path, O_DIR, __WASI_RIGHTS_FD_READDIR, 0, 0, &fd);
  report("", error);
  if (error != SUCCESS) return 0;
  static uint8_t buffer[65536];
  __wasi_size_t used = 0;
  OK(__wasi_fd_readdir(fd, buffer, sizeof buffer, 0, &used));
  for (size_t i = 0; i + sizeof(__wasi_dirent_t) <= used;) {
    __wasi_dirent_t header;
    memcpy(&header, buffer + i, sizeof header);
    printf("[%.*s]\n", (int)header.d_namlen, (char*)buffer + i + sizeof header);
    i += sizeof header + header.d_namlen;
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fputs("an operation and its paths are missing\n", stderr);
    return 2;
  }
  const char* const operation = argv[1];
  const struct place first = place_of(argv[2]);
  const struct place second = argc > 3 ? place_of(argv[3]) : (struct place){-1, ""};
#define IS(name) (strcmp(operation, name) == 0)
  if (IS("open")) return open_it(first, FOLLOW, 0, READ_RIGHTS);
  if (IS("open_nofollow")) return open_it(first, 0, 0, READ_RIGHTS);
  if (IS("open_directory")) return open_it(first, FOLLOW, O_DIR, READ_RIGHTS);
  if (IS("write")) return open_it(first, FOLLOW, 0, FILE_RIGHTS);
  if (IS("write_only")) return open_it(first, FOLLOW, 0, __WASI_RIGHTS_FD_WRITE);
  if (IS("create")) return open_it(first, FOLLOW, O_CREATE, FILE_RIGHTS);
  if (IS("create_nofollow")) return open_it(first, 0, O_CREATE, FILE_RIGHTS);
  if (IS("create_new")) return open_it(first, FOLLOW, O_CREATE | O_EXCLUSIVE, FILE_RIGHTS);
  if (IS("truncate")) return open_it(first, FOLLOW, O_TRUNCATE, FILE_RIGHTS);
  if (IS("truncate_nofollow")) return open_it(first, 0, O_TRUNCATE, 0);
  if (IS("list")) return list(first);
  if (IS("stat")) return stat_it(first, FOLLOW);
  if (IS("stat_nofollow")) return stat_it(first, 0);
  if (IS("set_times"))
    return report("", __wasi_path_filestat_set_times(first.fd, FOLLOW, first.path, 1, 1, 5));
  if (IS("set_times_nofollow"))
    return report("", __wasi_path_filestat_set_times(first.fd, 0, first.path, 1, 1, 5));
  if (IS("unlink")) return report("", __wasi_path_unlink_file(first.fd, first.path));
  if (IS("mkdir")) return report("", __wasi_path_create_directory(first.fd, first.path));
  if (IS("rmdir")) return report("", __wasi_path_remove_directory(first.fd, first.path));
  if (IS("readlink")) return read_link(first);
  if (IS("rename")) return report("", __wasi_path_rename(first.fd, first.path, second.fd, second.path));
  if (IS("link")) return report("", __wasi_path_link(first.fd, 0, first.path, second.fd, second.path));
  if (IS("link_follow"))
    return report("", __wasi_path_link(first.fd, FOLLOW, first.path, second.fd, second.path));
  if (IS("symlink")) return report("", __wasi_path_symlink(argv[2], second.fd, second.path));
  fprintf(stderr, "there is no operation %s\n", operation);
  return 2;
}
