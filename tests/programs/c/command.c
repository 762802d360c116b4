// A C program that uses what WASI offers as a C program does.  What it does: ../README.md.

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern char** environ;

// --- helpers -------------------------------------------------------------------------------------------

static const char* kind(int error) {
  switch (error) {
    case 0: return "done";
    case ENOENT: return "not found";
    case EEXIST: return "exists";
    case ENOTEMPTY: return "not empty";
    case EISDIR: return "is a directory";
    case ENOTDIR: return "not a directory";
    default: return strerror(error);
  }
}

// What the last call, which returned `result`, came to.
static const char* outcome(int result) { return kind(result < 0 ? errno : 0); }

static void fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static int compare_text(const void* a, const void* b) {
  return strcmp(*(char* const*)a, *(char* const*)b);
}

// FOLDER/NAME; the answer lives until the program ends.
static const char* in(const char* folder, const char* name) {
  const size_t bytes = strlen(folder) + strlen(name) + 2;
  char* path = malloc(bytes);
  snprintf(path, bytes, "%s/%s", folder, name);
  return path;
}

static void write_file(const char* path, const char* mode, const char* text) {
  FILE* file = fopen(path, mode);
  if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0) fail(path);
}

static void print_file(const char* path) {
  FILE* file = fopen(path, "r");
  if (file == NULL) fail(path);
  for (int c = fgetc(file); c != EOF; c = fgetc(file)) putchar(c);
  fclose(file);
}

static long long size_of(const char* path) {
  struct stat status;
  if (stat(path, &status) != 0) fail(path);
  return (long long)status.st_size;
}

// --- args, env, lines, cat -----------------------------------------------------------------------------

static int args(int argc, char** argv) {
  const char* name = strrchr(argv[0], '/') == NULL ? argv[0] : strrchr(argv[0], '/') + 1;
  const size_t bytes = strlen(name);
  const int is_wasm = bytes > 5 && strcmp(name + bytes - 5, ".wasm") == 0;
  printf("program: %.*s\nwords: %d\n", (int)(is_wasm ? bytes - 5 : bytes), name, argc - 2);
  for (int i = 2; i < argc; i++) printf("%d (%zu bytes): %s\n", i - 1, strlen(argv[i]), argv[i]);
  return 0;
}

static int env(int argc, char** argv) {
  for (int i = 2; i < argc; i++) {
    const char* value = getenv(argv[i]);
    if (value == NULL) {
      printf("%s is not set\n", argv[i]);
    } else {
      printf("%s=%s\n", argv[i], value);
    }
  }
  if (argc > 2 || environ == NULL) return 0;
  size_t count = 0;
  while (environ[count] != NULL) count++;
  qsort(environ, count, sizeof *environ, compare_text);
  for (size_t i = 0; i < count; i++) puts(environ[i]);
  return 0;
}

static int lines(void) {
  int number = 0;
  long bytes = 0;
  int at_start = 1;
  for (int c = getchar(); c != EOF; c = getchar()) {
    if (at_start) printf("%d: ", ++number);
    putchar(toupper(c));
    bytes++;
    at_start = c == '\n';
  }
  fprintf(stderr, "lines: %d, bytes: %ld\n", number, bytes);
  return 0;
}

static int cat(const char* path) {
  FILE* file = fopen(path, "r");
  if (file == NULL) {
    fprintf(stderr, "cat: cannot read %s\n", path);
    return 1;
  }
  char buffer[4096];
  size_t n = 0;
  while ((n = fread(buffer, 1, sizeof buffer, file)) > 0) fwrite(buffer, 1, n, stdout);
  fclose(file);
  return 0;
}

// --- files ---------------------------------------------------------------------------------------------

enum { kBigBytes = (1 << 20) + 17, kItems = 300 };

static void small_file(const char* folder) {
  const char* notes = in(folder, "notes.txt");
  const char* journal = in(folder, "journal.txt");
  write_file(notes, "w", "first, of two\nsecond line\n");
  write_file(notes, "a", "appended\n");
  printf("size: %lld\n", size_of(notes));
  print_file(notes);

  const int fd = open(notes, O_RDWR);
  if (fd < 0) fail(notes);
  char tail[9] = "";
  printf("seek: %lld\n", (long long)lseek(fd, 7, SEEK_SET));
  if (write(fd, "OF TWO", 6) != 6) fail(notes);
  printf("at: %lld\n", (long long)lseek(fd, 0, SEEK_CUR));
  printf("end: %lld\n", (long long)lseek(fd, -9, SEEK_END));
  if (read(fd, tail, 8) != 8) fail(notes);
  printf("tail: %s\n", tail);
  if (ftruncate(fd, 13) != 0) fail(notes);
  close(fd);
  printf("truncated: %lld\n", size_of(notes));
  print_file(notes);
  putchar('\n');

  printf("rename: %s\n", outcome(rename(notes, journal)));
  struct stat status;
  printf("old name: %s\n", outcome(stat(notes, &status)));
  printf("new name: %s\n", outcome(stat(journal, &status)));
  const double age = difftime(time(NULL), status.st_mtime);
  printf("modified: %s\n", age > -60 && age < 86400 ? "lately" : "long ago");
}

static uint32_t fnv1a(uint32_t hash, const unsigned char* bytes, size_t count) {
  for (size_t i = 0; i < count; i++) hash = (hash ^ bytes[i]) * 16777619u;
  return hash;
}

// Written and read in pieces of different lengths.
static void big_file(const char* folder) {
  const char* path = in(folder, "big.bin");
  unsigned char* bytes = malloc(kBigBytes);
  for (uint32_t i = 0; i < kBigBytes; i++) bytes[i] = (unsigned char)((i * 31 + 7) >> 3);
  FILE* file = fopen(path, "wb");
  if (file == NULL) fail(path);
  for (size_t at = 0; at < kBigBytes; at += 60001) {
    const size_t n = kBigBytes - at < 60001 ? kBigBytes - at : 60001;
    if (fwrite(bytes + at, 1, n, file) != n) fail(path);
  }
  fclose(file);

  memset(bytes, 0, kBigBytes);
  uint32_t hash = 2166136261u;
  size_t total = 0;
  file = fopen(path, "rb");
  if (file == NULL) fail(path);
  for (size_t n = 0; (n = fread(bytes, 1, 4093, file)) > 0; total += n) hash = fnv1a(hash, bytes, n);
  fclose(file);
  free(bytes);
  printf("big: %lld bytes, %zu read, hash %08x\n", size_of(path), total, (unsigned)hash);
}

// The names in a folder, sorted; returns how many.
static size_t list(const char* folder, char*** names) {
  DIR* dir = opendir(folder);
  if (dir == NULL) fail(folder);
  size_t count = 0;
  *names = malloc((kItems + 8) * sizeof **names);
  for (struct dirent* entry = readdir(dir); entry != NULL && count < kItems + 8; entry = readdir(dir)) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    (*names)[count++] = strdup(entry->d_name);
  }
  closedir(dir);
  qsort(*names, count, sizeof **names, compare_text);
  return count;
}

// More entries than one answer of the host holds.
static void many_files(const char* folder) {
  char name[32];
  for (int i = 0; i < kItems; i++) {
    snprintf(name, sizeof name, "item-%03d", i);
    write_file(in(folder, name), "w", &"abcdef"[6 - i % 7]);
  }
  if (mkdir(in(folder, "inner"), 0755) != 0) fail("inner");

  char** names = NULL;
  const size_t count = list(folder, &names);
  long long bytes = 0;
  printf("entries: %zu\n", count);
  for (size_t i = 0; i < count; i++) {
    struct stat status;
    if (stat(in(folder, names[i]), &status) != 0) fail(names[i]);
    const int is_folder = S_ISDIR(status.st_mode);
    if (!is_folder) bytes += (long long)status.st_size;
    if (i < 3 || i + 5 > count) printf("  %s %s\n", is_folder ? "folder" : "file", names[i]);
  }
  printf("bytes in all: %lld\n", bytes);
}

static void wrong_uses(const char* folder) {
  const int missing = open(in(folder, "missing"), O_RDONLY);
  printf("open missing: %s\n", outcome(missing));
  const int is_there = open(in(folder, "item-000"), O_WRONLY | O_CREAT | O_EXCL, 0644);
  printf("create what is there: %s\n", outcome(is_there));
  const int as_file = open(in(folder, "inner"), O_WRONLY);
  printf("write to a folder: %s\n", outcome(as_file));
  DIR* as_folder = opendir(in(folder, "item-000"));
  printf("list a file: %s\n", outcome(as_folder == NULL ? -1 : 0));
  printf("remove a full folder: %s\n", outcome(rmdir(folder)));
  printf("unlink missing: %s\n", outcome(unlink(in(folder, "missing"))));
}

static void remove_all(const char* folder) {
  char** names = NULL;
  const size_t count = list(folder, &names);
  for (size_t i = 0; i < count; i++) {
    const char* path = in(folder, names[i]);
    if (strcmp(names[i], "inner") == 0 ? rmdir(path) : unlink(path)) fail(path);
  }
  printf("left: %zu\n", list(folder, &names));
  printf("remove the folder: %s\n", outcome(rmdir(folder)));
}

static int files(const char* top) {
  const char* folder = in(top, "work");
  printf("make a folder: %s\n", outcome(mkdir(folder, 0755)));
  printf("and again: %s\n", outcome(mkdir(folder, 0755)));
  small_file(folder);
  big_file(folder);
  many_files(folder);
  wrong_uses(folder);
  remove_all(folder);
  write_file(in(top, "kept.txt"), "w", "kept by the guest\n");
  return 0;
}

// --- machine -------------------------------------------------------------------------------------------

static double now(clockid_t clock) {
  struct timespec time;
  if (clock_gettime(clock, &time) != 0) fail("clock_gettime");
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int machine(void) {
  const double begin = now(CLOCK_MONOTONIC);
  const struct timespec pause = {.tv_sec = 0, .tv_nsec = 20 * 1000 * 1000};
  nanosleep(&pause, NULL);
  const double slept = now(CLOCK_MONOTONIC) - begin;
  printf("slept: %s\n", slept >= 0.02 && slept < 5 ? "20 ms" : "wrong");
  printf("year: %s\n", now(CLOCK_REALTIME) > 1.6e9 ? "after 2020" : "wrong");
  unsigned char random[2][16] = {{0}};
  if (getentropy(random[0], 16) != 0 || getentropy(random[1], 16) != 0) fail("getentropy");
  printf("random: %s\n", memcmp(random[0], random[1], 16) != 0 ? "differs" : "the same");
  return 0;
}

int main(int argc, char** argv) {
  const char* command = argc > 1 ? argv[1] : "";
  if (strcmp(command, "args") == 0) return args(argc, argv);
  if (strcmp(command, "env") == 0) return env(argc, argv);
  if (strcmp(command, "lines") == 0) return lines();
  if (strcmp(command, "files") == 0 && argc == 3) return files(argv[2]);
  if (strcmp(command, "cat") == 0 && argc == 3) return cat(argv[2]);
  if (strcmp(command, "machine") == 0) return machine();
  if (strcmp(command, "crash") == 0) abort();
  if (strcmp(command, "fail") == 0 && argc > 2) {
    for (int i = 3; i < argc; i++) fprintf(stderr, "%s%s", argv[i], i + 1 < argc ? " " : "\n");
    return atoi(argv[2]);
  }
  fputs("usage: args | env | lines | files FOLDER | cat PATH | machine | fail CODE WORDS | crash\n", stderr);
  return 2;
}
