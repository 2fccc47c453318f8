import assert from "node:assert/strict";
import { test } from "node:test";
import { changesFrom, piecesOf } from "../src/items/annotate";

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

test("what the base did not write is marked as added, what it wrote besides as removed", () => {
  const changes = changesFrom("I see a small dog.", "I see a big dog.") ?? [];
  const of = (kind: string): string =>
    changes
      .filter(({ kinds }) => kinds.includes(kind))
      .map(({ text }) => text)
      .join("");
  assert.equal(of("added").trim(), "big");
  assert.equal(of("removed").trim(), "small");
  const without = (kind: string): string =>
    changes
      .filter(({ kinds }) => !kinds.includes(kind))
      .map(({ text }) => text)
      .join("");
  assert.equal(without("removed"), "I see a big dog.");
  assert.equal(without("added"), "I see a small dog.");
  assert.deepEqual(changesFrom("same", "same"), [{ text: "same", kinds: [] }]);
  const words = (prefix: string) =>
    Array.from({ length: 900 }, (_, i) => `${prefix}${i}`).join(" ");
  assert.equal(changesFrom(words("a"), words("b")), null);
});
