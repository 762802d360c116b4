// A Go library whose functions a host calls.  What they do: ../../README.md.
package main

import (
	"os"
	"unsafe"
)

var table []int64

func init() {
	for i := range int64(64) {
		table = append(table, i*i)
	}
}

//go:wasmexport add
func add(a, b int32) int32 { return a + b }

//go:wasmexport primes
func primes(below int32) int32 {
	composite := make([]bool, max(below, 2))
	count := int32(0)
	for i := 2; i < len(composite); i++ {
		if composite[i] {
			continue
		}
		count++
		for j := int64(i) * int64(i); j < int64(len(composite)); j += int64(i) {
			composite[j] = true
		}
	}
	return count
}

//go:wasmexport initialised
func initialised() int64 {
	sum := int64(0)
	for _, square := range table {
		sum += square
	}
	return sum
}

//go:wasmexport file_bytes
func fileBytes() int64 {
	info, err := os.Stat("/data/input.txt")
	if err != nil {
		return -1
	}
	return info.Size()
}

// --- text --------------------------------------------------------------------------------------------

// What the host may point to: the collector does not see its pointers.
var lent = map[unsafe.Pointer][]uint64{}

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldBytes, alignment, bytes uint32) unsafe.Pointer {
	words := make([]uint64, max(1, (bytes+7)/8)) // aligned to 8
	if kept, found := lent[old]; found {
		copy(words, kept)
		delete(lent, old)
	}
	result := unsafe.Pointer(unsafe.SliceData(words))
	lent[result] = words
	return result
}

type text struct {
	address uint32
	bytes   uint32
}

var greeting string
var answer text

// greet takes over the name, which the host had from cabi_realloc.
//
//go:wasmexport greet
func greet(name unsafe.Pointer, bytes uint32) unsafe.Pointer {
	greeting = "Hello, " + string(unsafe.Slice((*byte)(name), bytes)) + "!"
	delete(lent, name)
	answer = text{uint32(uintptr(unsafe.Pointer(unsafe.StringData(greeting)))), uint32(len(greeting))}
	return unsafe.Pointer(&answer)
}

//go:wasmexport cabi_post_greet
func freeGreeting(unsafe.Pointer) { greeting = "" }

func main() {}
