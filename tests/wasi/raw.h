#pragma once

// The calls as the host sees them: addresses and lengths are numbers, so that they can be wrong.

#include <stdint.h>

#define RAW(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) int raw_##name

RAW(args_get)(uint32_t argv, uint32_t buffer);
RAW(args_sizes_get)(uint32_t count, uint32_t size);
RAW(environ_get)(uint32_t environ, uint32_t buffer);
RAW(environ_sizes_get)(uint32_t count, uint32_t size);
RAW(clock_res_get)(uint32_t id, uint32_t result);
RAW(clock_time_get)(uint32_t id, uint64_t precision, uint32_t result);
RAW(fd_advise)(int fd, uint64_t offset, uint64_t length, uint32_t advice);
RAW(fd_fdstat_get)(int fd, uint32_t result);
RAW(fd_fdstat_set_flags)(int fd, uint32_t flags);
RAW(fd_filestat_get)(int fd, uint32_t result);
RAW(fd_filestat_set_times)(int fd, uint64_t access, uint64_t modified, uint32_t flags);
RAW(fd_pread)(int fd, uint32_t buffers, uint32_t count, uint64_t offset, uint32_t result);
RAW(fd_prestat_get)(int fd, uint32_t result);
RAW(fd_prestat_dir_name)(int fd, uint32_t path, uint32_t length);
RAW(fd_pwrite)(int fd, uint32_t buffers, uint32_t count, uint64_t offset, uint32_t result);
RAW(fd_read)(int fd, uint32_t buffers, uint32_t count, uint32_t result);
RAW(fd_readdir)(int fd, uint32_t buffer, uint32_t length, uint64_t cookie, uint32_t result);
RAW(fd_seek)(int fd, int64_t offset, uint32_t whence, uint32_t result);
RAW(fd_tell)(int fd, uint32_t result);
RAW(fd_write)(int fd, uint32_t buffers, uint32_t count, uint32_t result);
RAW(path_create_directory)(int fd, uint32_t path, uint32_t length);
RAW(path_filestat_get)(int fd, uint32_t lookup, uint32_t path, uint32_t length, uint32_t result);
RAW(path_filestat_set_times)
(int fd, uint32_t lookup, uint32_t path, uint32_t length, uint64_t access, uint64_t modified, uint32_t flags);
RAW(path_link)
(int old_fd, uint32_t lookup, uint32_t old_path, uint32_t old_length, int new_fd, uint32_t new_path,
 uint32_t new_length);
RAW(path_open)
(int fd, uint32_t lookup, uint32_t path, uint32_t length, uint32_t oflags, uint64_t base, uint64_t inheriting,
 uint32_t fdflags, uint32_t result);
RAW(path_readlink)
(int fd, uint32_t path, uint32_t length, uint32_t buffer, uint32_t buffer_length, uint32_t result);
RAW(path_remove_directory)(int fd, uint32_t path, uint32_t length);
RAW(path_rename)
(int fd, uint32_t old_path, uint32_t old_length, int new_fd, uint32_t new_path, uint32_t new_length);
RAW(path_symlink)(uint32_t target, uint32_t target_length, int fd, uint32_t path, uint32_t length);
RAW(path_unlink_file)(int fd, uint32_t path, uint32_t length);
RAW(poll_oneoff)(uint32_t in, uint32_t out, uint32_t count, uint32_t result);
RAW(proc_raise)(uint32_t signal);
RAW(random_get)(uint32_t buffer, uint32_t length);
RAW(sock_accept)(int fd, uint32_t flags, uint32_t result);
RAW(sock_recv)(int fd, uint32_t buffers, uint32_t count, uint32_t flags, uint32_t size, uint32_t result);
RAW(sock_send)(int fd, uint32_t buffers, uint32_t count, uint32_t flags, uint32_t result);
RAW(sock_shutdown)(int fd, uint32_t how);

static inline uint32_t at(const void* pointer) { return (uint32_t)(uintptr_t)pointer; }
// The first address behind the memory.
static inline uint32_t memory_end(void) { return (uint32_t)(__builtin_wasm_memory_size(0) * 65536); }
