// Directories: what is in them, and in which portions one is told.

#include "check.h"
#include "raw.h"

enum { ENTRIES_MAX = 1000, HEADER = sizeof(__wasi_dirent_t) };
_Static_assert(sizeof(__wasi_dirent_t) == 24, "as the specification has it");

struct entry {
  char name[256];
  __wasi_dirent_t header;
};

static size_t readdir_once(int fd, void* buffer, size_t size, uint64_t cookie) {
  __wasi_size_t used = 0;
  OK(__wasi_fd_readdir(fd, (uint8_t*)buffer, size, cookie, &used));
  CHECK(used <= size);
  return used;
}

// The whole entries of a buffer; `entries` gets what is there.
static size_t parse(const uint8_t* buffer, size_t used, struct entry* entries, size_t max) {
  size_t count = 0;
  while (used >= HEADER) {
    struct entry entry;
    memcpy(&entry.header, buffer, HEADER);
    const size_t size = entry.header.d_namlen;
    CHECK(size > 0 && size < sizeof entry.name);
    if (used < HEADER + size) break;
    memcpy(entry.name, buffer + HEADER, size);
    entry.name[size] = 0;
    CHECK(strlen(entry.name) == size);
    CHECK(count < max);
    entries[count++] = entry;
    buffer += HEADER + size;
    used -= HEADER + size;
  }
  return count;
}

// All entries from `cookie` on, `size` bytes at a time.
static size_t read_all(int fd, uint64_t cookie, size_t size, struct entry* entries) {
  static uint8_t buffer[1 << 16];
  CHECK(size >= HEADER + 255 && size <= sizeof buffer);
  size_t count = 0;
  while (1) {
    const size_t used = readdir_once(fd, buffer, size, cookie);
    const size_t got = parse(buffer, used, entries + count, ENTRIES_MAX - count);
    count += got;
    if (used < size) return count;  // all that there is
    CHECK(got > 0);
    cookie = entries[count - 1].header.d_next;
  }
}

static const struct entry* find(const struct entry* entries, size_t count, const char* name) {
  const struct entry* found = NULL;
  for (size_t i = 0; i < count; i++) {
    if (strcmp(entries[i].name, name) != 0) continue;
    CHECK(found == NULL);  // once
    found = entries + i;
  }
  return found;
}

static struct entry all[ENTRIES_MAX];
static struct entry again[ENTRIES_MAX];

static void make_files(int fd, int count) {
  char name[32];
  for (int i = 0; i < count; i++) {
    snprintf(name, sizeof name, "file_with_a_name.%d", i);
    GIVES(try_open_at(fd, name, 0, O_CREATE | O_EXCLUSIVE, FILE_RIGHTS), SUCCESS);
  }
}

// --- listing --------------------------------------------------------------------------------------------

static void list(void) {
  create_file("file", "abc");
  OK(__wasi_path_create_directory(RW, "directory"));
  OK(__wasi_path_symlink("file", RW, "link"));
  const size_t count = read_all(RW, 0, 4096, all);
  CHECK(count == 5);
  const struct {
    const char* name;
    int type;
  } expected[] = {{".", __WASI_FILETYPE_DIRECTORY},
                  {"..", __WASI_FILETYPE_DIRECTORY},
                  {"file", __WASI_FILETYPE_REGULAR_FILE},
                  {"directory", __WASI_FILETYPE_DIRECTORY},
                  {"link", __WASI_FILETYPE_SYMBOLIC_LINK}};
  for (int i = 0; i < 5; i++) {
    const struct entry* entry = find(all, count, expected[i].name);
    CHECK(entry != NULL);
    CHECK(entry->header.d_type == expected[i].type);
    if (i >= 2) CHECK(entry->header.d_ino == stat_path(expected[i].name, 0).ino);
  }
  CHECK(find(all, count, ".")->header.d_ino == stat_fd(RW).ino);
  CHECK(find(all, count, "..")->header.d_ino == stat_fd(RW).ino);  // what lies above is nobody's business
  CHECK(read_all(RW, 0, 4096, again) == 5);                        // as often as one likes
}

static void empty(void) {
  OK(__wasi_path_create_directory(RW, "directory"));
  const int fd = open_directory(RW, "directory");
  CHECK(read_all(fd, 0, 4096, all) == 2);
  CHECK(find(all, 2, ".") != NULL && find(all, 2, "..") != NULL);
}

// Reading begins anew with cookie 0, and then sees what has changed.
static void rewind_sees_changes(void) {
  CHECK(read_all(RW, 0, 4096, all) == 2);
  create_file("file", "");
  CHECK(read_all(RW, 0, 4096, all) == 3);
  OK(__wasi_path_unlink_file(RW, "file"));
  CHECK(read_all(RW, 0, 4096, all) == 2);
}

// Every cookie that was given out leads to the same entries, in any order and with any size of buffer.
static void cookies(void) {
  make_files(RW, 300);
  const size_t count = read_all(RW, 0, 65536, all);
  CHECK(count == 302);
  for (size_t size = HEADER + 255; size < 5000; size += 1111) {
    CHECK(read_all(RW, 0, size, again) == count);
    for (size_t i = 0; i < count; i++) {
      CHECK(strcmp(again[i].name, all[i].name) == 0);
      CHECK(again[i].header.d_next == all[i].header.d_next);
    }
  }
  for (size_t step = 0, i = 7; step < 40; step++, i = (i * 131 + 17) % count) {
    const size_t rest = read_all(RW, all[i].header.d_next, 1024, again);
    CHECK(rest == count - i - 1);
    for (size_t j = 0; j < rest; j++) CHECK(strcmp(again[j].name, all[i + 1 + j].name) == 0);
  }
  CHECK(read_all(RW, all[count - 1].header.d_next, 1024, again) == 0);
  for (size_t i = 0; i < count; i++) CHECK(all[i].header.d_next != 0);
}

// Two descriptors of one directory have nothing to do with each other.
static void two_descriptors(void) {
  make_files(RW, 50);
  const int other = open_directory(RW, ".");
  static uint8_t buffer[400];
  size_t used = readdir_once(RW, buffer, sizeof buffer, 0);
  const size_t first = parse(buffer, used, all, ENTRIES_MAX);
  CHECK(read_all(other, 0, 400, again) == 52);
  const size_t rest = read_all(RW, all[first - 1].header.d_next, 400, again);
  CHECK(first + rest == 52);
}

// An entry that does not fit is cut off where the buffer ends: a full buffer says that there is more.
static void truncated(void) {
  make_files(RW, 3);
  static uint8_t whole[4096];
  static uint8_t part[4096];
  const size_t size = readdir_once(RW, whole, sizeof whole, 0);
  CHECK(size < sizeof whole);
  CHECK(readdir_once(RW, part, 0, 0) == 0);
  for (size_t length = 1; length <= size; length++) {
    memset(part, 0xee, sizeof part);
    CHECK(readdir_once(RW, part, length, 0) == length);
    CHECK(memcmp(part, whole, length) == 0);
    CHECK(part[length] == 0xee);
  }
  CHECK(readdir_once(RW, part, size + 1, 0) == size);
}

// All entries are found, each once, also when they are removed as soon as one has seen them.
static void unlink_while_reading(void) {
  OK(__wasi_path_create_directory(RW, "directory"));
  const int fd = open_directory(RW, "directory");
  make_files(fd, 300);
  static uint8_t seen[300];
  static uint8_t buffer[600];
  uint64_t cookie = 0;
  while (1) {
    const size_t used = readdir_once(fd, buffer, sizeof buffer, cookie);
    const size_t count = parse(buffer, used, all, ENTRIES_MAX);
    for (size_t i = 0; i < count; i++) {
      cookie = all[i].header.d_next;
      if (all[i].name[0] == '.') continue;
      const int number = atoi(strchr(all[i].name, '.') + 1);
      CHECK(seen[number] == 0);
      seen[number] = 1;
      OK(__wasi_path_unlink_file(fd, all[i].name));
    }
    if (used < sizeof buffer) break;
  }
  for (int i = 0; i < 300; i++) CHECK(seen[i] == 1);
  CHECK(read_all(fd, 0, 4096, all) == 2);
  OK(__wasi_path_remove_directory(RW, "directory"));
}

// Those that come meanwhile may be seen or not, those that stay are seen once.
static void create_while_reading(void) {
  make_files(RW, 200);
  static uint8_t seen[200];
  static uint8_t buffer[400];
  uint64_t cookie = 0;
  for (int round = 0;; round++) {
    CHECK(round < 1000);
    const size_t used = readdir_once(RW, buffer, sizeof buffer, cookie);
    const size_t count = parse(buffer, used, all, ENTRIES_MAX);
    for (size_t i = 0; i < count; i++) {
      cookie = all[i].header.d_next;
      if (strncmp(all[i].name, "file_with", 9) == 0) seen[atoi(strchr(all[i].name, '.') + 1)]++;
    }
    if (used < sizeof buffer) break;
    if (round < 20) {
      char name[32];
      snprintf(name, sizeof name, "new%d", round);
      create_file(name, "");
    }
  }
  for (int i = 0; i < 200; i++) CHECK(seen[i] == 1);
}

static void long_names(void) {
  char name[256];
  memset(name, 'n', 255);
  name[255] = 0;
  create_file(name, "");
  CHECK(read_all(RW, 0, HEADER + 255, all) == 3);
  const struct entry* entry = find(all, 3, name);
  CHECK(entry != NULL && entry->header.d_namlen == 255);
  // A buffer that is too small for it never gives it whole; the guest sees that, and by how much.
  static uint8_t buffer[100];
  uint64_t cookie = 0;
  for (size_t i = 0; i < 3; i++) {
    if (&all[i] != entry) continue;
    if (i > 0) cookie = all[i - 1].header.d_next;
  }
  CHECK(readdir_once(RW, buffer, sizeof buffer, cookie) == sizeof buffer);
  __wasi_dirent_t header;
  memcpy(&header, buffer, HEADER);
  CHECK(header.d_namlen == 255 && memcmp(buffer + HEADER, name, sizeof buffer - HEADER) == 0);
}

// Cookies that nobody gave out: an error or the end or some entries, but no harm.
static void bad_cookies(void) {
  make_files(RW, 20);
  static uint8_t buffer[512];
  const uint64_t bad[] = {UINT64_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, 12345, (uint64_t)1 << 32, 1, 2, 3};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    __wasi_size_t used = 0;
    GIVES(__wasi_fd_readdir(RW, buffer, sizeof buffer, bad[i], &used), SUCCESS, INVAL, NOENT);
    CHECK(used <= sizeof buffer);
    CHECK(read_all(RW, 0, 512, all) == 22);
  }
}

// --- a directory is not a file --------------------------------------------------------------------------

static void not_a_file(void) {
  uint8_t bytes[8];
  const __wasi_iovec_t in = {bytes, 8};
  const __wasi_ciovec_t out = {bytes, 8};
  __wasi_size_t done;
  __wasi_filesize_t position;
  const int own = open_directory(RW, ".");
  for (int i = 0; i < 2; i++) {
    const int fd = i == 0 ? RW : own;
    GIVES(__wasi_fd_read(fd, &in, 1, &done), ISDIR, BADF, NOTCAPABLE);
    GIVES(__wasi_fd_pread(fd, &in, 1, 0, &done), ISDIR, BADF, NOTCAPABLE);
    GIVES(__wasi_fd_write(fd, &out, 1, &done), ISDIR, BADF, NOTCAPABLE);
    GIVES(__wasi_fd_pwrite(fd, &out, 1, 0, &done), ISDIR, BADF, NOTCAPABLE);
    for (__wasi_whence_t whence = 0; whence < 3; whence++) {
      GIVES(__wasi_fd_seek(fd, 0, whence, &position), ISDIR, BADF, NOTCAPABLE);
    }
    GIVES(__wasi_fd_tell(fd, &position), ISDIR, BADF, NOTCAPABLE);
    GIVES(__wasi_fd_allocate(fd, 0, 1), ISDIR, BADF, NOTCAPABLE);
    GIVES(__wasi_fd_filestat_set_size(fd, 0), ISDIR, INVAL, BADF, NOTCAPABLE);
  }
}

// --- preopened directories ------------------------------------------------------------------------------

static void preopens(void) {
  __wasi_prestat_t prestat;
  memset(&prestat, 0xee, sizeof prestat);
  OK(__wasi_fd_prestat_get(RW, &prestat));
  CHECK(prestat.tag == __WASI_PREOPENTYPE_DIR && prestat.u.dir.pr_name_len == 3);
  OK(__wasi_fd_prestat_get(RO, &prestat));
  CHECK(prestat.u.dir.pr_name_len == 3);
  GIVES(__wasi_fd_prestat_get(RO + 1, &prestat), BADF);

  char name[8];
  memset(name, '.', sizeof name);
  OK(__wasi_fd_prestat_dir_name(RW, (uint8_t*)name, 3));
  CHECK(memcmp(name, "/rw.....", 8) == 0);  // no zero byte at its end
  OK(__wasi_fd_prestat_dir_name(RO, (uint8_t*)name, 8));
  CHECK(memcmp(name, "/ro", 3) == 0);
  GIVES(__wasi_fd_prestat_dir_name(RW, (uint8_t*)name, 2), NAMETOOLONG, INVAL);
  GIVES(__wasi_fd_prestat_dir_name(RW, (uint8_t*)name, 0), NAMETOOLONG, INVAL);
  __wasi_fdstat_t stat;
  OK(__wasi_fd_fdstat_get(RW, &stat));
  CHECK(stat.fs_filetype == __WASI_FILETYPE_DIRECTORY && stat.fs_flags == 0);
}

// --- making and removing --------------------------------------------------------------------------------

static void create_and_remove(void) {
  OK(__wasi_path_create_directory(RW, "directory"));
  CHECK(stat_path("directory", 0).filetype == __WASI_FILETYPE_DIRECTORY);
  GIVES(__wasi_path_create_directory(RW, "directory"), EXIST);
  GIVES(__wasi_path_create_directory(RW, "directory/"), EXIST);
  OK(__wasi_path_create_directory(RW, "directory/below/"));
  create_file("directory/below/file", "");
  GIVES(__wasi_path_create_directory(RW, "directory/below/file"), EXIST);
  GIVES(__wasi_path_create_directory(RW, "missing/below"), NOENT);
  GIVES(__wasi_path_create_directory(RW, "directory/below/file/below"), NOTDIR);
  GIVES(__wasi_path_create_directory(RW, ""), NOENT, INVAL);
  GIVES(__wasi_path_create_directory(RW, "."), EXIST, INVAL);
  OK(__wasi_path_symlink("missing", RW, "dangling"));
  GIVES(__wasi_path_create_directory(RW, "dangling"), EXIST);

  GIVES(__wasi_path_remove_directory(RW, "directory"), NOTEMPTY);
  GIVES(__wasi_path_remove_directory(RW, "directory/below"), NOTEMPTY);
  GIVES(__wasi_path_remove_directory(RW, "directory/below/file"), NOTDIR);
  GIVES(__wasi_path_remove_directory(RW, "directory/below/file/"), NOTDIR);
  GIVES(__wasi_path_remove_directory(RW, "missing"), NOENT);
  GIVES(__wasi_path_remove_directory(RW, ""), NOENT, INVAL);
  GIVES(__wasi_path_remove_directory(RW, "."), INVAL, BUSY);
  GIVES(__wasi_path_remove_directory(RW, "directory/."), INVAL);
  GIVES(__wasi_path_remove_directory(RW, "directory/below/.."), INVAL, NOTEMPTY);
  OK(__wasi_path_symlink("directory", RW, "link"));
  GIVES(__wasi_path_remove_directory(RW, "link"), NOTDIR);
  OK(__wasi_path_unlink_file(RW, "directory/below/file"));
  OK(__wasi_path_remove_directory(RW, "directory/below/"));
  OK(__wasi_path_remove_directory(RW, "directory"));
  GIVES(try_stat("directory", 0), NOENT);
}

// A directory that was removed while open is empty for ever.
static void removed(void) {
  OK(__wasi_path_create_directory(RW, "directory"));
  const int fd = open_directory(RW, "directory");
  OK(__wasi_path_remove_directory(RW, "directory"));
  GIVES(try_open_at(fd, "file", 0, O_CREATE, FILE_RIGHTS), NOENT);
  GIVES(__wasi_path_create_directory(fd, "below"), NOENT);
  static uint8_t buffer[512];
  __wasi_size_t used = 0;
  GIVES(__wasi_fd_readdir(fd, buffer, sizeof buffer, 0, &used), SUCCESS, NOENT);
  CHECK(parse(buffer, used, all, ENTRIES_MAX) <= 2);
  CHECK(stat_fd(fd).filetype == __WASI_FILETYPE_DIRECTORY);
}

// Directories 100 deep, made and reached by descriptors and by one path.
static void deep(void) {
  static char path[300];
  for (int i = 0; i < 100; i++) {
    strcat(path, "d");
    OK(__wasi_path_create_directory(RW, path));
    strcat(path, "/");
  }
  strcat(path, "file");
  create_file(path, "deep");
  int fd = open_directory(RW, ".");
  for (int i = 0; i < 100; i++) {
    const int next = open_directory(fd, "d");
    OK(__wasi_fd_close(fd));
    fd = next;
  }
  OK(try_open_at(fd, "file", 0, 0, READ_RIGHTS));
  GIVES(try_open_at(fd, "../file", 0, 0, READ_RIGHTS), PERM, NOTCAPABLE);  // a descriptor is a border, too
}

CASES_MAIN(CASE(list), CASE(empty), CASE(rewind_sees_changes), CASE(cookies), CASE(two_descriptors),
           CASE(truncated), CASE(unlink_while_reading), CASE(create_while_reading), CASE(long_names),
           CASE(bad_cookies), CASE(not_a_file), CASE(preopens), CASE(create_and_remove), CASE(removed),
           CASE(deep))
