// SQL on a database in a file: sqlite DATABASE [SQL...]; without SQL it reads some from standard input.
// One line a row, columns between bars.  The first error ends it: exit code 1.

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print_row(void* unused, int columns, char** values, char** names) {
  (void)unused;
  (void)names;
  for (int i = 0; i < columns; i++) printf("%s%s", i == 0 ? "" : "|", values[i] == NULL ? "NULL" : values[i]);
  putchar('\n');
  return 0;
}

static int run(sqlite3* database, const char* sql) {
  char* message = NULL;
  const int result = sqlite3_exec(database, sql, print_row, NULL, &message);
  if (result == SQLITE_OK) return 0;
  fflush(stdout);
  fprintf(stderr, "error %d: %s\n", result, message == NULL ? sqlite3_errstr(result) : message);
  sqlite3_free(message);
  return 1;
}

static char* read_all(FILE* file) {
  size_t used = 0;
  size_t size = 1 << 16;
  char* text = malloc(size);
  for (size_t n = 0; (n = fread(text + used, 1, size - used - 1, file)) > 0;) {
    used += n;
    if (used + 1 == size) text = realloc(text, size *= 2);
  }
  text[used] = '\0';
  return text;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fputs("usage: sqlite DATABASE [SQL...]\n", stderr);
    return 2;
  }
  sqlite3* database = NULL;
  if (sqlite3_open(argv[1], &database) != SQLITE_OK) {
    fprintf(stderr, "cannot open %s: %s\n", argv[1], sqlite3_errmsg(database));
    return 1;
  }
  int failed = 0;
  for (int i = 2; i < argc && !failed; i++) failed = run(database, argv[i]);
  if (argc == 2) failed = run(database, read_all(stdin));
  if (sqlite3_close(database) != SQLITE_OK) failed = 1;
  return failed;
}
