/* The header is C11, to the letter: what is inline in it, compiled by a C compiler. */
#include "include/spore.h"

spore_value c11_value(void);
spore_value c11_value(void) {
  const spore_value values[] = {spore_value_null(), spore_value_i64(-1), spore_value_f64(0.5),
                                spore_value_string("moon", 4)};
  return values[3];
}
