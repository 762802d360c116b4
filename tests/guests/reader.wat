;; A program that reads a file of its directory a piece at a time, and forgets nothing but by WASI: descriptor 3 is
;; the directory, 4 the file once "open" was called.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 32) "story")
  (func $check (param i32) (if (local.get 0) (then unreachable)))
  (func (export "open")
    (call $check (call $path_open (i32.const 3) (i32.const 1) (i32.const 32) (i32.const 5) (i32.const 0)
      (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16))))
  ;; Copies the next bytes to standard output, at most so many.
  (func (export "tell") (param $bytes i32)
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (local.get $bytes))
    (call $check (call $fd_read (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 4)))
    (call $check (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))
