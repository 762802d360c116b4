;; A guest that keeps what it was given: what the next caller finds shows whether the instance was clean.
(module
  (memory (export "memory") 17)
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get 3)))
    (local.get $at))

  ;; remember(string): the length goes to 1028, the address to 1024; both stay.
  (func (export "remember") (param $at i32) (param $bytes i32)
    (i32.store (i32.const 1024) (local.get $at))
    (i32.store (i32.const 1028) (local.get $bytes)))
  ;; recall() -> string: the last thing remembered, by whomever.
  (func (export "recall") (result i32) (i32.const 1024))
  ;; One word written where a Rust guest has its heap; its old value is the answer.
  (func (export "touch") (result i32)
    (i32.load (i32.const 1048576))
    (i32.store (i32.const 1048576) (i32.const 1))))
