import assert from "node:assert/strict";
import { test } from "node:test";
import { toCatalog, verdictsOf } from "../src/items/catalog";
import { conditionLabel } from "../src/items/conditions";
import {
  countValues,
  countVerdicts,
  countWithout,
  readFilter,
  Selector,
  unknownParts,
  withoutCondition,
  writeFilter,
} from "../src/items/filters";

const CATALOG = toCatalog({
  n: 6,
  chunk: 200,
  coded: {
    origin: { values: ["dataset", "bench"], codes: [0, 0, 0, 0, 1, 1] },
    outcome: { values: ["train", "gate"], codes: [0, 0, 1, 1, -1, -1] },
    type: { values: ["Which", "Where"], codes: [0, 1, 0, 1, 0, 1] },
  },
  texts: {
    id: ["a0", "a1", "a2", "a3", "b0", "b1"],
    question: ["Which dog?", "Where is the DOG?", "Which car?", "Where?", "Which dog barks?", ""],
  },
  numbers: { think_words: [30, 10, null, 20, null, null] },
  sets: { gates: { values: ["leak", "length"], codes: [[], [], [0, 1], [1], [], []] } },
  models: [
    { benchmark: "bench", model: "base:7b", modality: "a", first: 4, codes: [0, 0], letters: "AB" },
    {
      benchmark: "bench",
      model: "base:7b",
      modality: "av",
      first: 4,
      codes: [1, 2],
      letters: "C ",
    },
    { benchmark: "bench", model: "rl", modality: "av", first: 4, codes: [0, 1], letters: "AC" },
  ],
  media: [1, 1, 1, 1, 1, 0],
});

const select = (query: string) =>
  new Selector(CATALOG).select(readFilter(new URLSearchParams(query), CATALOG));
const kept = (query: string): number[] => [...select(query).places];
const facet = (name: string) => {
  const found = CATALOG.facets.find((candidate) => candidate.name === name);
  assert.ok(found);
  return found;
};

test("values of one column are alternatives, columns are conditions", () => {
  assert.deepEqual(kept(""), [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(kept("outcome=train&outcome=gate"), [0, 1, 2, 3]);
  assert.deepEqual(kept("outcome=train&type=Where"), [1]);
  assert.deepEqual(kept("outcome="), [4, 5]);
  assert.deepEqual(kept("gates=length"), [2, 3]);
  assert.deepEqual(kept("gates="), [0, 1, 4, 5]);
  assert.deepEqual(kept("media=missing"), [5]);
  assert.deepEqual(kept("outcome=nonsense"), []);
});

test("a column or a value that the run does not have leaves no item, and can be taken away", () => {
  for (const query of ["finding=leak", "gates=other", "duration_s=1..9", "reason=dropped%2Fleak"]) {
    assert.deepEqual(kept(query), []);
    const filter = readFilter(new URLSearchParams(query), CATALOG);
    const keys = select(query).conditions.map(({ key }) => key);
    assert.deepEqual(keys, [query.slice(0, query.indexOf("="))]);
    assert.equal(writeFilter(filter).toString(), query);
    assert.equal(writeFilter(withoutCondition(filter, keys[0] ?? "")).toString(), "");
  }
  assert.deepEqual(kept("finding="), [0, 1, 2, 3, 4, 5]);
  const filter = readFilter(new URLSearchParams("finding=leak&right=nobody"), CATALOG);
  assert.equal(conditionLabel(filter, "finding"), "Judge's finding: leak");
  assert.equal(conditionLabel(filter, "verdict nobody"), "nobody: right");
});

test("an id is exact", () => {
  assert.deepEqual(kept("id=a1"), [1]);
  assert.deepEqual(kept("id=a"), []);
  assert.deepEqual(kept("id=a1&id=b0"), [1, 4]);
  const filter = readFilter(new URLSearchParams("id=a1"), CATALOG);
  assert.equal(writeFilter(filter).toString(), "id=a1");
  assert.equal(conditionLabel(filter, "id"), "Id: a1");
});

test("parts of the address that make no filter are named", () => {
  const unknown = (query: string): string[] => unknownParts(new URLSearchParams(query), CATALOG);
  assert.deepEqual(
    unknown("outcome=other&finding=leak&duration_s=1..2&right=x&id=a&q=&in=texts"),
    [],
  );
  assert.deepEqual(unknown("sort=-outcome&view=list&page=2&answered=rl:av:C&think_words=10.."), []);
  assert.deepEqual(unknown("sort=banana&think_words=abc..xyz&colour=red&colour=red&page=0"), [
    "sort=banana",
    "think_words=abc..xyz",
    "colour=red",
    "page=0",
  ]);
  const filter = readFilter(new URLSearchParams("sort=banana"), CATALOG);
  assert.equal(writeFilter(filter).toString(), "");
});

test("ranges leave out items without the number", () => {
  assert.deepEqual(kept("think_words=10..20"), [1, 3]);
  assert.deepEqual(kept("think_words=20.."), [0, 3]);
  assert.deepEqual(kept("think_words=..10"), [1]);
  assert.deepEqual(kept("think_words=30"), [0]);
  assert.deepEqual(kept("think_words=x..y"), [0, 1, 2, 3, 4, 5]);
});

test("right and wrong by model and modality, also where a model's name has a colon", () => {
  assert.deepEqual(kept("wrong=base:7b:av"), [4]);
  assert.deepEqual(kept("wrong=base:7b:av&no_answer=base:7b:av"), [4, 5]);
  assert.deepEqual(kept("wrong=base:7b:av&right=rl:av"), [4]);
  assert.deepEqual(kept("answered=rl:av:C"), [5]);
  assert.deepEqual(kept("right=nobody:av"), []);
});

test("every word of the search is in the id or the question", () => {
  assert.deepEqual(kept("q=dog"), [0, 1, 4]);
  assert.deepEqual(kept("q=dog+which"), [0, 4]);
  assert.deepEqual(kept("q=b1"), [5]);
});

test("what was found in texts is added to ids and questions", () => {
  const filter = readFilter(new URLSearchParams("q=dog&in=texts"), CATALOG);
  const selector = new Selector(CATALOG);
  const found = new Uint8Array(6);
  assert.deepEqual([...selector.select(filter, found).places], [0, 1, 4]);
  found[3] = 1;
  assert.deepEqual([...selector.select(filter, found).places], [0, 1, 3, 4]);
});

test("a set's filter stands at its place in the panel, a column that is not known at the end", () => {
  const sets = { other: { values: ["x"], codes: [] }, right_model: { values: ["m"], codes: [] } };
  const catalog = toCatalog({ ...CATALOG.index, sets: { ...CATALOG.index.sets, ...sets } });
  const names = catalog.facets.map(({ name }) => name);
  assert.deepEqual(names, ["origin", "outcome", "gates", "right_model", "type", "other", "media"]);
});

test("items with frames come first, then those with sound, and the files' order is a choice", () => {
  const strip = ["", "", "m.jpg", "", "m.jpg", ""];
  const { index } = CATALOG;
  const catalog = toCatalog({
    ...index,
    texts: { ...index.texts, strip },
    media: [0, 1, 1, 0, 1, 0],
  });
  const places = (query: string): number[] => [
    ...new Selector(catalog).select(readFilter(new URLSearchParams(query), catalog)).places,
  ];
  assert.deepEqual(places(""), [2, 4, 1, 0, 3, 5]);
  assert.deepEqual(places("outcome=train&outcome=gate"), [2, 1, 0, 3]);
  assert.deepEqual(places("sort=files"), [0, 1, 2, 3, 4, 5]);
});

test("sorting puts items without a value last in both orders", () => {
  assert.deepEqual(kept("sort=think_words"), [1, 3, 0, 2, 4, 5]);
  assert.deepEqual(kept("sort=-think_words"), [0, 3, 1, 2, 4, 5]);
  assert.deepEqual(kept("sort=outcome"), [2, 3, 0, 1, 4, 5]);
  assert.deepEqual(kept("sort=-id"), [5, 4, 3, 2, 1, 0]);
});

test("counts of a column leave its own condition aside", () => {
  const selection = select("outcome=train&type=Where");
  assert.deepEqual([...countValues(selection, facet("outcome"))], [1, 1, 1]);
  assert.deepEqual([...countValues(selection, facet("type"))], [1, 1, 0]);
  assert.deepEqual([...countValues(select(""), facet("gates"))], [1, 2, 4]);
  const rl = CATALOG.verdicts.find(({ key }) => key === "rl:av");
  assert.ok(rl);
  assert.deepEqual([...countVerdicts(select("right=rl:av"), "rl:av", rl.codes)], [1, 1, 0, 0, 0]);
});

test("an empty selection knows what each condition costs", () => {
  const selection = select("outcome=gate&think_words=30");
  assert.equal(selection.places.length, 0);
  assert.deepEqual(
    [...countWithout(selection)],
    [
      ["outcome", 1],
      ["think_words", 2],
    ],
  );
});

test("the address says all of the filter, and a condition can be taken away", () => {
  const query =
    "outcome=train&outcome=gate&think_words=10..&wrong=base%3A7b%3Aav&answered=rl%3Aav%3AC&q=a+b&in=texts&sort=-id";
  const filter = readFilter(new URLSearchParams(query), CATALOG);
  assert.equal(writeFilter(filter).toString(), query);
  const keys = ["outcome", "think_words", "verdict base:7b:av", "answered rl:av", "q"];
  const left = keys.reduce(withoutCondition, filter);
  assert.equal(writeFilter(left).toString(), "sort=-id");
  assert.equal(conditionLabel(filter, "verdict base:7b:av"), "base:7b (frames + sound): wrong");
});

test("a card shows every model's verdict on the richest input", () => {
  const shown = verdictsOf(CATALOG, 4).map(({ key }) => key);
  assert.deepEqual(shown, ["base:7b:av", "rl:av"]);
  assert.deepEqual(verdictsOf(CATALOG, 0), []);
});
