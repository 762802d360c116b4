#include "spore.h"

// The length of the text in code points, times the boost.
static double run(spore_string text, double boost) { return (double)spore_length(text) * boost; }

SPORE_EXPORT("@NAME@", run, f64, string, f64)
