;; One function for each way to misbehave.
(module
  (memory (export "memory") 1)
  (func (export "endless") (loop $again (br $again)))
  (func $deep (export "deep") (param i32) (result i32)
    (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
  ;; Grows by a page until it is refused; the pages it got then.
  (func (export "grow") (result i32)
    (loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (memory.size))
  (func $boom (export "boom") (unreachable))
  (func $outside (export "outside") (result i32) (i32.load (i32.const 0x7fffffff)))
  ;; What works, to be called afterwards.
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "_start") (call $boom)))
