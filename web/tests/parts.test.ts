import assert from "node:assert/strict";
import { test } from "node:test";
import { colour, fitted, inWords, short } from "../src/charts/parts";

test("a label that is too long ends in an ellipsis", () => {
  assert.equal(fitted("world-bench", 200), "world-bench");
  assert.equal(fitted("world-bench", 40), "world…");
});

test("a mark is read with its interval and its n", () => {
  const dot = { y: "sft", series: "Audio", value: 52.7, low: 49.6, high: 55.8, n: 1000 };
  assert.equal(inWords(dot, "%"), "sft, Audio: 52.7 %\n95 % interval 49.6 to 55.8, n = 1,000");
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
