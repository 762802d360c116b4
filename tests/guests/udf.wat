;; Functions as tests of typed functions need them.
(module
  (import "spore:document/fields" "get-string" (func $get_string (param i32 i32 i32)))
  (import "spore:document/fields" "get-f64" (func $get_f64 (param i32 i32 i32)))
  (import "spore:document/fields" "score" (func $score (result f64)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 8192))
  (global $calls (mut i32) (i32.const 0))
  (global $sum (mut f64) (f64.const 0))
  (data (i32.const 16) "price.amount")
  (data (i32.const 32) "name")

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

  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
  ;; How often this instance was called: 1 in a clean one.
  (func (export "calls") (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (global.get $calls))
  ;; Traps on 0.
  (func (export "trap-on-zero") (param i32) (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.div_u (i32.const 100) (local.get 0)))
  (func (export "loop") (param i32) (result i32) (loop $for_ever (br $for_ever)) (i32.const 0))
  (func (export "same") (param i32 i32) (result i32)
    (i32.store (i32.const 1024) (local.get 0))
    (i32.store (i32.const 1028) (local.get 1))
    (i32.const 1024))
  (func (export "not-utf8") (param i32 i32) (result i32)
    (i32.store8 (i32.const 2048) (i32.const 0xff))
    (i32.store (i32.const 1024) (i32.const 2048))
    (i32.store (i32.const 1028) (i32.const 1))
    (i32.const 1024))
  (func (export "outside") (param i32 i32) (result i32)
    (i32.store (i32.const 1024) (i32.const -16))
    (i32.store (i32.const 1028) (i32.const 64))
    (i32.const 1024))
  ;; More than may be taken out in a call; of a list more than could be held.
  (func (export "large") (param i32) (result i32)
    (drop (memory.grow (i32.const 2048)))
    (i32.store (i32.const 1024) (i32.const 8192))
    (i32.store (i32.const 1028) (local.get 0))
    (i32.const 1024))
  (func (export "unaligned") (param i32) (result i32)
    (i32.store (i32.const 1024) (i32.const 4097))
    (i32.store (i32.const 1028) (i32.const 1))
    (i32.const 1024))
  (func (export "case") (param i32) (result i32) (local.get 0))
  (func (export "fill") (param i32) (result i32) (drop (memory.grow (i32.const 100000))) (memory.size))

  ;; An aggregate.
  (func (export "total-step") (param f64) (global.set $sum (f64.add (global.get $sum) (local.get 0))))
  (func (export "total-finish") (result f64) (global.get $sum))

  ;; Batches of add: (i32, i32) pairs in, their sums out, but that a row of two zeros is a trap.
  (func (export "add-batch") (param $rows i32) (param $count i32) (result i32)
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

  ;; price.amount of the document, or -1; and its name.
  (func (export "amount") (result f64)
    (call $get_f64 (i32.const 16) (i32.const 12) (i32.const 512))
    (if (result f64) (i32.load8_u (i32.const 512)) (then (f64.load (i32.const 520))) (else (f64.const -1))))
  (func (export "name-of") (result i32)
    (call $get_string (i32.const 32) (i32.const 4) (i32.const 512))
    (i32.const 516))
  (func (export "scored") (result f64) (call $score)))
