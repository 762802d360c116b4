// Three typed functions: how alike two texts are, how far two places, and a rule of prices over a document.
package main

import (
	"math"
	"slices"

	"udf/spore"
)

func main() {} // never called

//go:wasmexport similarity
func exportSimilarity(a *byte, aSize uint32, b *byte, bSize uint32) float64 {
	return similarity(spore.String(a, aSize), spore.String(b, bSize))
}

// Sørensen and Dice's: twice the bigrams that both have, of all.
func similarity(a, b string) float64 {
	a, b = lower(a), lower(b)
	if a == b {
		return 1
	}
	ofA, ofB := bigrams(a), bigrams(b)
	if len(ofA) == 0 || len(ofB) == 0 {
		return 0
	}
	common := 0
	for i, k := 0, 0; i < len(ofA) && k < len(ofB); {
		x, y := ofA[i], ofB[k]
		if x == y {
			common++
		}
		if x <= y {
			i++
		}
		if y <= x {
			k++
		}
	}
	return 2 * float64(common) / float64(len(ofA)+len(ofB))
}

// ASCII alone.
func lower(text string) string {
	bytes := []byte(text)
	for i, c := range bytes {
		if 'A' <= c && c <= 'Z' {
			bytes[i] = c + 'a' - 'A'
		}
	}
	return string(bytes)
}

// All pairs of neighbouring code points, sorted.
func bigrams(text string) []uint64 {
	pairs := make([]uint64, 0, len(text))
	previous := uint64(0)
	for i, c := range text {
		if i > 0 {
			pairs = append(pairs, previous<<32|uint64(c))
		}
		previous = uint64(c)
	}
	slices.Sort(pairs)
	return pairs
}

// In km, by the haversine formula.
//
//go:wasmexport distance
func distance(lat1, lon1, lat2, lon2 float64) float64 {
	const radius, degree = 6371.0088, math.Pi / 180
	x, y := math.Sin((lat2-lat1)*degree/2), math.Sin((lon2-lon1)*degree/2)
	h := x*x + math.Cos(lat1*degree)*math.Cos(lat2*degree)*y*y
	return 2 * radius * math.Asin(math.Sqrt(min(h, 1)))
}

// The document's own price, if it has one, with what the rules make of it.
//
//go:wasmexport price
func price(base float64) float64 {
	price := base
	if amount, ok := spore.GetFloat64("price.amount"); ok {
		price = amount
	}
	if member, ok := spore.GetBool("member"); ok && member {
		price *= 0.9
	}
	if category, ok := spore.GetString("category"); ok && category == "book" {
		price *= 0.95
	}
	if stock, ok := spore.GetInt64("stock"); ok && stock < 3 {
		price *= 1.2
	}
	if tag, ok := spore.GetString("tags[0]"); ok && tag == "sale" {
		price *= 0.5
	}
	return price
}
