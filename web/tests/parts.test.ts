import assert from "node:assert/strict";
import { test } from "node:test";
import { colour, fitted, inWords, short } from "../src/charts/parts";

test("a label that is too long ends in an ellipsis", () => {
  assert.equal(fitted("world-bench", 200), "world-bench");
  assert.equal(fitted("world-bench", 40), "world…");
});

test("a mark is read with its interval and its n", () => {
  const dot = { y: "sft", series: "Audio", value: 6.85, text: "6.8 %", n: 1000 };
  const interval = { low: 5.4, high: 8.6, interval: "[5.4, 8.6]" };
  const said = "sft, Audio: 6.8 %\n95 % interval [5.4, 8.6], n = 1,000";
  assert.equal(inWords({ ...dot, ...interval }), said);
  assert.equal(inWords({ ...dot, k: 68 }), "sft, Audio: 6.8 %\n68 of 1,000");
});

test("numbers of any size fit an axis", () => {
  assert.deepEqual([0, 0.0002, 12.3456, 2_500_000].map(short), [
    "0",
    "2.00e-4",
    "12.35",
    "2.50e+6",
  ]);
});

test("no text becomes a style", () => {
  assert.equal(colour("av"), "var(--c-av)");
  assert.equal(colour("x); color: red"), "var(--c-1)");
});
