// Waiting.

#include "check.h"
#include "raw.h"

_Static_assert(sizeof(__wasi_subscription_t) == 48 && sizeof(__wasi_event_t) == 32,
               "as the specification has it");

static const uint64_t kMillisecond = 1000000;
static const uint64_t kSecond = 1000000000;

static __wasi_subscription_t clock(uint64_t user_data, uint32_t id, uint64_t timeout, int absolute) {
  __wasi_subscription_t result = {.userdata = user_data, .u.tag = __WASI_EVENTTYPE_CLOCK};
  result.u.u.clock.id = id;
  result.u.u.clock.timeout = timeout;
  result.u.u.clock.flags = absolute ? __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME : 0;
  return result;
}
static __wasi_subscription_t file(uint64_t user_data, int tag, int fd) {
  __wasi_subscription_t result = {.userdata = user_data, .u.tag = (uint8_t)tag};
  result.u.u.fd_read.file_descriptor = fd;
  return result;
}
static __wasi_subscription_t readable(uint64_t user_data, int fd) {
  return file(user_data, __WASI_EVENTTYPE_FD_READ, fd);
}
static __wasi_subscription_t writable(uint64_t user_data, int fd) {
  return file(user_data, __WASI_EVENTTYPE_FD_WRITE, fd);
}

static uint64_t now(__wasi_clockid_t id) {
  __wasi_timestamp_t time = 0;
  OK(__wasi_clock_time_get(id, 0, &time));
  return time;
}

// --- clocks ---------------------------------------------------------------------------------------------

static void one_clock(__wasi_subscription_t subscription) {
  __wasi_event_t event;
  memset(&event, 0xee, sizeof event);
  __wasi_size_t count = 77;
  OK(__wasi_poll_oneoff(&subscription, &event, 1, &count));
  CHECK(count == 1);
  CHECK(event.userdata == subscription.userdata && event.type == __WASI_EVENTTYPE_CLOCK);
  GIVES(event.error, SUCCESS);
}

static void relative(void) {
  for (uint32_t id = 0; id < 2; id++) {
    const uint64_t begin = now(__WASI_CLOCKID_MONOTONIC);
    one_clock(clock(0xfedcba9876543210, id, 30 * kMillisecond, 0));
    const uint64_t took = now(__WASI_CLOCKID_MONOTONIC) - begin;
    CHECK(took >= 29 * kMillisecond && took < 60 * kSecond);
  }
  one_clock(clock(1, 1, 0, 0));
  one_clock(clock(1, 1, 1, 0));
}

static void absolute(void) {
  for (uint32_t id = 0; id < 2; id++) {
    const uint64_t end = now(id) + 30 * kMillisecond;
    one_clock(clock(5, id, end, 1));
    CHECK(now(id) + kMillisecond >= end);
    one_clock(clock(6, id, now(id) - 1, 1));  // long ago
    one_clock(clock(7, id, 0, 1));
  }
}

// The earliest ends the waiting; the others are not told of.
static void the_earliest(void) {
  const __wasi_subscription_t in[] = {clock(1, 1, 3600 * kSecond, 0), clock(2, 1, 10 * kMillisecond, 0),
                                      clock(3, 0, 3600 * kSecond, 0)};
  __wasi_event_t events[3];
  __wasi_size_t count = 0;
  OK(__wasi_poll_oneoff(in, events, 3, &count));
  CHECK(count == 1 && events[0].userdata == 2);
  const __wasi_subscription_t past[] = {clock(1, 1, 0, 1), clock(2, 0, 0, 1), clock(3, 1, 3600 * kSecond, 0)};
  OK(__wasi_poll_oneoff(past, events, 3, &count));
  CHECK(count == 2 && events[0].userdata + events[1].userdata == 3);
}

// Either the call says so or the event.
static void unknown_clocks(void) {
  const uint32_t ids[] = {4, 1000, 0xffffffff};
  for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
    const __wasi_subscription_t in = clock(5, ids[i], kMillisecond, 0);
    __wasi_event_t event = {0};
    __wasi_size_t count = 0;
    const __wasi_errno_t error = __wasi_poll_oneoff(&in, &event, 1, &count);
    GIVES(error, SUCCESS, INVAL);
    if (error == SUCCESS) {
      CHECK(count == 1 && event.userdata == 5);
      GIVES(event.error, INVAL);
    }
  }
}

// Waiting for the processor to have worked: refused, or else done.
static void clocks_of_the_processor(void) {
  for (uint32_t id = 2; id < 4; id++) {
    const __wasi_subscription_t in[] = {clock(5, id, 0, 0), clock(6, 1, kMillisecond, 0)};
    __wasi_event_t events[2] = {{0}};
    __wasi_size_t count = 0;
    const __wasi_errno_t error = __wasi_poll_oneoff(in, events, 2, &count);
    GIVES(error, SUCCESS, INVAL, NOTSUP);
    if (error != SUCCESS) continue;
    CHECK(count >= 1);
    GIVES(events[0].error, SUCCESS, INVAL, NOTSUP);
  }
}

// Times beyond all times wait, they do not wrap around.
static void far_away(void) {
  create_file("file", "abc");
  const int fd = open_flags("file", 0, 0);
  const uint64_t times[] = {UINT64_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX - 1};
  for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
    for (int flags = 0; flags < 2; flags++) {
      for (uint32_t id = 0; id < 2; id++) {
        const __wasi_subscription_t in[] = {clock(1, id, times[i], flags), readable(2, fd)};
        __wasi_event_t events[2];
        __wasi_size_t count = 0;
        OK(__wasi_poll_oneoff(in, events, 2, &count));
        CHECK(count == 1 && events[0].userdata == 2);
      }
    }
  }
}

// --- files ----------------------------------------------------------------------------------------------

// A file is ready always, and says how much there is to read.
static void files(void) {
  create_file("file", "abcdef");
  const int fd = open_flags("file", 0, 0);
  char text[2];
  CHECK(read_bytes(fd, text, 2) == 2);
  const __wasi_subscription_t in[] = {readable(1, fd), writable(2, fd), clock(3, 1, 3600 * kSecond, 0)};
  __wasi_event_t events[3];
  __wasi_size_t count = 0;
  OK(__wasi_poll_oneoff(in, events, 3, &count));
  CHECK(count == 2);
  for (int i = 0; i < 2; i++) {
    GIVES(events[i].error, SUCCESS);
    CHECK(events[i].type == (events[i].userdata == 1 ? __WASI_EVENTTYPE_FD_READ : __WASI_EVENTTYPE_FD_WRITE));
    if (events[i].userdata == 1) CHECK(events[i].fd_readwrite.nbytes <= 6);
  }
}

static void streams(void) {
  const __wasi_subscription_t in[] = {writable(1, STDOUT), writable(2, STDERR),
                                      clock(3, 1, 3600 * kSecond, 0)};
  __wasi_event_t events[3];
  __wasi_size_t count = 0;
  OK(__wasi_poll_oneoff(in, events, 3, &count));
  CHECK(count == 1 || count == 2);
  for (__wasi_size_t i = 0; i < count; i++) {
    CHECK(events[i].userdata == 1 || events[i].userdata == 2);
    GIVES(events[i].error, SUCCESS);
  }
}

// Run with /dev/null as standard input: at its end it is ready.
static void ended_input(void) {
  const __wasi_subscription_t in[] = {readable(1, STDIN), clock(2, 1, 3600 * kSecond, 0)};
  __wasi_event_t events[2];
  __wasi_size_t count = 0;
  OK(__wasi_poll_oneoff(in, events, 2, &count));
  CHECK(count == 1 && events[0].userdata == 1 && events[0].type == __WASI_EVENTTYPE_FD_READ);
  GIVES(events[0].error, SUCCESS);
}

// Run with a standard input where nothing ever comes.
static void silent_input(void) {
  const __wasi_subscription_t in[] = {readable(1, STDIN), clock(2, 1, 20 * kMillisecond, 0)};
  __wasi_event_t events[2];
  __wasi_size_t count = 0;
  OK(__wasi_poll_oneoff(in, events, 2, &count));
  CHECK(count == 1 && events[0].userdata == 2);
}

static void bad_descriptors(void) {
  const int fds[] = {NOT_OPEN, -1, INT32_MAX};
  for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
    const __wasi_subscription_t in[] = {readable(1, fds[i]), writable(2, fds[i]),
                                        clock(3, 1, 3600 * kSecond, 0)};
    __wasi_event_t events[3];
    __wasi_size_t count = 0;
    OK(__wasi_poll_oneoff(in, events, 3, &count));
    CHECK(count == 2);
    for (int j = 0; j < 2; j++) GIVES(events[j].error, BADF);
    CHECK(events[0].userdata + events[1].userdata == 3);
  }
}

// A directory has nothing to wait for.
static void directories(void) {
  const __wasi_subscription_t in[] = {readable(1, RW), clock(2, 1, 10 * kMillisecond, 0)};
  __wasi_event_t events[2];
  __wasi_size_t count = 0;
  OK(__wasi_poll_oneoff(in, events, 2, &count));
  CHECK(count >= 1 && count <= 2);
  if (events[0].userdata == 1) GIVES(events[0].error, SUCCESS, BADF, ISDIR, NOTCAPABLE, NOTSUP, INVAL, PERM);
}

// --- arguments ------------------------------------------------------------------------------------------

static void nothing_to_wait_for(void) {
  __wasi_subscription_t in = clock(1, 1, 0, 0);
  __wasi_event_t event;
  __wasi_size_t count = 77;
  GIVES(__wasi_poll_oneoff(&in, &event, 0, &count), INVAL);
  CHECK(count == 77);
}

static void unknown_kinds(void) {
  for (int tag = 3; tag < 256; tag += 63) {
    const __wasi_subscription_t in = file(5, tag, STDOUT);
    __wasi_event_t event = {0};
    __wasi_size_t count = 0;
    const __wasi_errno_t error = __wasi_poll_oneoff(&in, &event, 1, &count);
    GIVES(error, SUCCESS, INVAL);
    if (error == SUCCESS) GIVES(event.error, INVAL);
  }
  __wasi_subscription_t in = clock(5, 1, 0, 0);
  in.u.u.clock.flags = 0x8000;
  __wasi_event_t event = {0};
  __wasi_size_t count = 0;
  const __wasi_errno_t error = __wasi_poll_oneoff(&in, &event, 1, &count);
  GIVES(error, SUCCESS, INVAL);
  if (error == SUCCESS) GIVES(event.error, INVAL);
}

static void many(void) {
  static __wasi_subscription_t in[64];
  static __wasi_event_t events[65];
  for (int i = 0; i < 64; i++) {
    char name[16];
    snprintf(name, sizeof name, "file%d", i);
    in[i] = readable((uint64_t)i, open_new(name));
  }
  memset(&events[64], 0xee, sizeof events[64]);
  __wasi_size_t count = 0;
  OK(__wasi_poll_oneoff(in, events, 64, &count));
  CHECK(count == 64);
  static uint8_t seen[64];
  for (int i = 0; i < 64; i++) {
    CHECK(events[i].userdata < 64 && seen[events[i].userdata] == 0);
    seen[events[i].userdata] = 1;
  }
  CHECK(events[64].userdata == 0xeeeeeeeeeeeeeeee);
}

// More than there is memory for; more than anybody needs.
static void too_many(void) {
  static uint8_t area[64];
  __wasi_size_t count = 0;
  GIVES(raw_poll_oneoff(at(area), at(area), 0x10000000, at(&count)), FAULT, INVAL);
  GIVES(raw_poll_oneoff(at(area), at(area), 0xffffffff, at(&count)), FAULT, INVAL);
  GIVES(raw_poll_oneoff(0, 0, 0x05555556, at(&count)), FAULT, INVAL);  // times 48 is 16 beyond 4 GiB
}

static void pointers(void) {
  const uint32_t end = memory_end();
  const __wasi_subscription_t in = clock(1, 1, 0, 0);
  __wasi_event_t event;
  __wasi_size_t count;
  GIVES(raw_poll_oneoff(end, at(&event), 1, at(&count)), FAULT);
  GIVES(raw_poll_oneoff(end - 47, at(&event), 1, at(&count)), FAULT);
  GIVES(raw_poll_oneoff(0xffffffe0, at(&event), 1, at(&count)), FAULT);
  GIVES(raw_poll_oneoff(at(&in), end - 31, 1, at(&count)), FAULT);
  GIVES(raw_poll_oneoff(at(&in), 0xffffffff, 1, at(&count)), FAULT);
  GIVES(raw_poll_oneoff(at(&in), at(&event), 1, end - 3), FAULT);
  OK(raw_poll_oneoff(at(&in), at(&event), 1, at(&count)));
}

// --- to be ended from outside ---------------------------------------------------------------------------

// Sleeps for an hour.
static void sleep_long(void) {
  fputs("waiting\n", stderr);
  one_clock(clock(1, __WASI_CLOCKID_MONOTONIC, 3600 * kSecond, 0));
}
static void sleep_until(void) {
  fputs("waiting\n", stderr);
  one_clock(clock(1, __WASI_CLOCKID_REALTIME, now(__WASI_CLOCKID_REALTIME) + 3600 * kSecond, 1));
}
// Run with a standard input where nothing ever comes.
static void wait_for_input(void) {
  fputs("waiting\n", stderr);
  const __wasi_subscription_t in = readable(1, STDIN);
  __wasi_event_t event;
  __wasi_size_t count = 0;
  OK(__wasi_poll_oneoff(&in, &event, 1, &count));
}

CASES_MAIN(CASE(relative), CASE(absolute), CASE(the_earliest), CASE(unknown_clocks),
           CASE(clocks_of_the_processor), CASE(far_away), CASE(files), CASE(streams), CASE(ended_input),
           CASE(silent_input), CASE(bad_descriptors), CASE(directories), CASE(nothing_to_wait_for),
           CASE(unknown_kinds), CASE(many), CASE(too_many), CASE(pointers), CASE(sleep_long),
           CASE(sleep_until), CASE(wait_for_input))
