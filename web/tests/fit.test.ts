import assert from "node:assert/strict";
import { test } from "node:test";
import { endOfLast } from "../src/fit";

test("a box that scrolls ends with a column, unless that leaves it mostly empty", () => {
  assert.equal(endOfLast([100, 220, 300, 420], 358), 300);
  assert.equal(endOfLast([100, 400], 358), null);
  assert.equal(endOfLast([400], 358), null);
});
