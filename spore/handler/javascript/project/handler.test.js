import assert from "node:assert";
import { test } from "node:test";

import { handle } from "./handler.js";

test("greets by name", () => {
  assert.deepStrictEqual(handle('{"name": "moon"}'), { greeting: "Hello, moon!" });
});

test("greets the world", () => {
  assert.deepStrictEqual(handle("{}"), { greeting: "Hello, world!" });
});
