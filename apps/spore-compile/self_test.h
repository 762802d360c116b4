#pragma once

namespace spore::helper {

// Tries, confined, what must fail and what must work; a line each.  The exit code: 0 if all is as it must be.
int self_test();

}  // namespace spore::helper
