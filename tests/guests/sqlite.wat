;; Functions as tests of the extension of SQLite need them, beside those of udf.wat.
(module
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 8192))
  (global $rows (mut i64) (i64.const 0))
  (data (i32.const 16) "not a number")

  (func $realloc (export "cabi_realloc") (param $old i32) (param $old_bytes i32) (param $align i32) (param $bytes i32) (result i32)
    (local $at i32)
    (local.set $at
      (i32.and (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
               (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $at) (local.get $bytes)))
    (block $done
      (loop $more
        (br_if $done (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $more)))
    (local.get $at))

  ;; What they are given: numbers of each core type, and all that crosses as address and length.
  (func (export "i32") (param i32) (result i32) (local.get 0))
  (func (export "i64") (param i64) (result i64) (local.get 0))
  (func (export "f32") (param f32) (result f32) (local.get 0))
  (func (export "f64") (param f64) (result f64) (local.get 0))
  (func (export "same") (param i32 i32) (result i32)
    (i32.store (i32.const 1024) (local.get 0))
    (i32.store (i32.const 1028) (local.get 1))
    (i32.const 1024))
  (func (export "words") (param i32 i32) (result i32)
    (i32.store (i32.const 1024) (local.get 0))
    (i32.store (i32.const 1028) (local.get 1))
    (i32.const 1024))
  (func (export "nothing") (param i32))

  ;; option<f64> -> option<f64>: one more
  (func (export "more") (param i32 f64) (result i32)
    (i32.store8 (i32.const 1024) (local.get 0))
    (f64.store (i32.const 1032) (f64.add (local.get 1) (f64.const 1)))
    (i32.const 1024))
  ;; f64 -> result<f64, string>: the root, or an error
  (func (export "root") (param f64) (result i32)
    (if (result i32) (f64.lt (local.get 0) (f64.const 0))
      (then
        (i32.store8 (i32.const 1024) (i32.const 1))
        (i32.store (i32.const 1032) (i32.const 16))
        (i32.store (i32.const 1036) (i32.const 12))
        (i32.const 1024))
      (else
        (i32.store8 (i32.const 1024) (i32.const 0))
        (f64.store (i32.const 1032) (f64.sqrt (local.get 0)))
        (i32.const 1024))))
  (func (export "loop") (param i32) (result i32)
    (loop $for_ever (br_if $for_ever (local.get 0)))
    (i32.const 7))
  (func (export "twice") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
  (func (export "thrice") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))

  (func (export "plus") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  ;; Batches of plus: (i32, i32) pairs in, their sums out, but that a row of two zeros is a trap.
  (func (export "plus-batch") (param $rows i32) (param $count i32) (result i32)
    (local $i i32) (local $out i32) (local $row i32)
    (local.set $out (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.mul (local.get $count) (i32.const 4))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
        (local.set $row (i32.add (local.get $rows) (i32.mul (local.get $i) (i32.const 8))))
        (if (i32.eqz (i32.or (i32.load (local.get $row)) (i32.load offset=4 (local.get $row)))) (then unreachable))
        (i32.store (i32.add (local.get $out) (i32.mul (local.get $i) (i32.const 4)))
                   (i32.add (i32.load (local.get $row)) (i32.load offset=4 (local.get $row))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (i32.store (i32.const 1024) (local.get $out))
    (i32.store (i32.const 1028) (local.get $count))
    (i32.const 1024))

  ;; An aggregate, which traps on -1.
  (func (export "rows-step") (param i64)
    (if (i64.eq (local.get 0) (i64.const -1)) (then unreachable))
    (global.set $rows (i64.add (global.get $rows) (local.get 0))))
  (func (export "rows-finish") (result i64) (global.get $rows)))
