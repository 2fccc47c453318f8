import assert from "node:assert/strict";
import { test } from "node:test";
import { addedSpans, piecesOf } from "../src/items/annotate";

test("overlapping spans give pieces that keep the whole text", () => {
  const spans = [
    { start: 2, end: 6, kind: "vision" },
    { start: 4, end: 8, kind: "quote" },
    { start: 9, end: 99, kind: "audio" },
  ];
  assert.deepEqual(piecesOf("0123456789", spans), [
    { text: "01", kinds: [] },
    { text: "23", kinds: ["vision"] },
    { text: "45", kinds: ["vision", "quote"] },
    { text: "67", kinds: ["quote"] },
    { text: "8", kinds: [] },
    { text: "9", kinds: ["audio"] },
  ]);
  assert.deepEqual(piecesOf("", []), []);
});

test("what the base did not write is marked", () => {
  const spans = addedSpans("I see a dog.", "I see a big dog.");
  assert.deepEqual(
    spans?.map(({ start, end }) => "I see a big dog.".slice(start, end).trim()),
    ["big"],
  );
  assert.deepEqual(addedSpans("same", "same"), []);
  const words = (prefix: string) =>
    Array.from({ length: 900 }, (_, i) => `${prefix}${i}`).join(" ");
  assert.equal(addedSpans(words("a"), words("b")), null);
});
