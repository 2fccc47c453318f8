import assert from "node:assert/strict";
import { test } from "node:test";
import { sortKey, sortRows } from "../src/table";
import type { Table } from "../src/types";

const table: Table = {
  caption: "",
  header: ["Stage", "Reason", "n"],
  rows: [
    ["view", "b", "94"],
    ["", "a", { text: "1,800", value: 1800 }],
    ["gate", "c", "–"],
  ],
  notes: [],
  text_columns: 2,
};

const column = (rows: Table["rows"], place: number): string[] =>
  rows.map((row) => {
    const cell = row[place] ?? "";
    return typeof cell === "string" ? cell : cell.text;
  });

test("numbers are sorted as numbers, and what has none comes last in both orders", () => {
  assert.deepEqual(column(sortRows(table, 2, "descending"), 2), ["1,800", "94", "–"]);
  assert.deepEqual(column(sortRows(table, 2, "ascending"), 2), ["94", "1,800", "–"]);
});

test("a row whose first cell continues the one above says so when it is moved", () => {
  assert.deepEqual(column(sortRows(table, 1, "ascending"), 0), ["view", "view", "gate"]);
  assert.equal(table.rows[1]?.[0], "");
});

test("a cell is sorted by the number that it shows", () => {
  assert.equal(sortKey("−12.5 %", false), -12.5);
  assert.equal(sortKey("< 0.001", false), 0.001);
  assert.equal(sortKey({ text: "55.5 %", value: 55.49 }, false), 55.49);
  assert.equal(sortKey("–", false), null);
  assert.equal(sortKey("10", true), "10");
});
