import assert from "node:assert/strict";
import { test } from "node:test";
import { isLocal } from "../src/dom";

test("only hashes and relative paths are addresses", () => {
  for (const address of ["#/items?q=a:b", "media/a.jpg", "../../world/clip%20a.mp4", "data/x.js"]) {
    assert.ok(isLocal(address), address);
  }
  for (const address of [
    "javascript:alert(1)",
    " javascript:x",
    "//host/a",
    "https://host",
    "data:text/html,x",
    "/etc/passwd",
    "\\\\host\\a",
    "",
  ]) {
    assert.ok(!isLocal(address), address);
  }
});
