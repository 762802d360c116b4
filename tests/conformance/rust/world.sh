#!/usr/bin/env bash
# Prints ../conformance.wit as a world, which is what wit-bindgen wants: world.wit is that.
set -euo pipefail
printf 'package spore:conformance;\n\nworld conformance {\n'
sed -E 's/^(echo-[a-z0-9-]+|many):/export &/; s/^./  &/' "$(dirname "${BASH_SOURCE[0]}")/../conformance.wit"
printf '}\n'
