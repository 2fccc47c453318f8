import assert from "node:assert/strict";
import { test } from "node:test";
import { promptOf } from "../src/items/prompts";
import type { Item, Source } from "../src/items/types";

const SOURCE: Source = { model: "m", prompt: "p", tokens: null, key: "k" };
const ITEM = {
  question: "What is it?",
  options: ["dog", "cat", "car"],
  target: "B",
  traces: [{ text: " I see it.\n" }],
} as Item;
const TEMPLATES = [
  { user: ["", "question", "\n", "options", "\nLook."] },
  { system: ["Be brief."], user: ["", "lettered_options", "|", "answer", "|", "trace 0", ""] },
];

test("a prompt is its template filled from the item, in the order that the model saw", () => {
  const prompt = promptOf(ITEM, { ...SOURCE, asked: 0, order: [2, 0, 1] }, TEMPLATES);
  assert.deepEqual(prompt, { system: null, user: "What is it?\n(A) car\n(B) dog\n(C) cat\nLook." });
  assert.deepEqual(promptOf(ITEM, { ...SOURCE, asked: 1 }, TEMPLATES), {
    system: "Be brief.",
    user: "A. dog\nB. cat\nC. car|(B) cat|I see it.",
  });
});

test("a prompt that no other shares stands in the item; a call that is not there has none", () => {
  const asked = { user: ["{question} is no field here"] };
  assert.equal(promptOf(ITEM, { ...SOURCE, asked }, [])?.user, "{question} is no field here");
  assert.equal(promptOf(ITEM, SOURCE, TEMPLATES), null);
});
