;; Text in and out by the canonical ABI: upper(string) -> string, with an allocator that only moves up and
;; is set back when the host has taken the result.
(module
  (memory (export "memory") 17)
  (global $heap (mut i32) (i32.const 4096))

  (func (export "cabi_realloc") (param $old i32) (param $old_bytes i32) (param $align i32) (param $bytes i32)
      (result i32)
    (local $at i32)
    (local.set $at
      (i32.and (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
               (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $at) (local.get $bytes)))
    (local.get $at))

  ;; ASCII letters only, in place; the result pair lies at 1024.
  (func (export "upper") (param $at i32) (param $bytes i32) (result i32)
    (local $i i32) (local $c i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $bytes)))
        (local.set $c (i32.load8_u (i32.add (local.get $at) (local.get $i))))
        (if (i32.lt_u (i32.sub (local.get $c) (i32.const 97)) (i32.const 26))
          (then (i32.store8 (i32.add (local.get $at) (local.get $i)) (i32.sub (local.get $c) (i32.const 32)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (i32.store (i32.const 1024) (local.get $at))
    (i32.store (i32.const 1028) (local.get $bytes))
    (i32.const 1024))
  (func (export "cabi_post_upper") (param i32)
    (global.set $heap (i32.const 4096)))

  (func (export "length") (param $at i32) (param $bytes i32) (result i32)
    (global.set $heap (i32.const 4096))
    (local.get $bytes))
  ;; Three results that a hostile guest could give.
  (func (export "outside") (param i32 i32) (result i32)
    (i32.store (i32.const 1024) (i32.const -16))
    (i32.store (i32.const 1028) (i32.const 64))
    (i32.const 1024))
  (func (export "pair_outside") (param i32 i32) (result i32) (i32.const -4))
  (func (export "not_utf8") (param i32 i32) (result i32)
    (i32.store8 (i32.const 2048) (i32.const 0xff))
    (i32.store (i32.const 1024) (i32.const 2048))
    (i32.store (i32.const 1028) (i32.const 1))
    (i32.const 1024)))
