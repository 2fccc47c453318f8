import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRoute, toHash } from "../src/router";

test("an address names the view, its argument and its parameters", () => {
  const route = parseRoute("#/item/7?outcome=gate&outcome=judge&q=a%20b%26c");
  assert.equal(route.view, "item");
  assert.equal(route.argument, "7");
  assert.deepEqual(route.params.getAll("outcome"), ["gate", "judge"]);
  assert.equal(route.params.get("q"), "a b&c");
  assert.deepEqual(parseRoute(toHash("item", route.params, "7")), route);
});

test("no address means the overview, and a broken one is no error", () => {
  for (const hash of ["", "#", "#/", "#/?q=x"]) assert.equal(parseRoute(hash).view, "overview");
  assert.equal(parseRoute("#/item/%E0%A4%A?x").argument, "%E0%A4%A");
});
