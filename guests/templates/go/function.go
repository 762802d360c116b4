package main

import (
	"unicode/utf8"

	"example.com/@NAME@/spore"
)

func main() {} // never called

// The length of the text in code points, times the boost.
//
//go:wasmexport @NAME@
func run(text *byte, size uint32, boost float64) float64 {
	return float64(utf8.RuneCountInString(spore.String(text, size))) * boost
}
