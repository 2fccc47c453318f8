// One page of the selection, as cards with a frame or as a dense table.

import { type Child, h, said } from "../dom";
import { scrolling } from "../fit";
import { formatCount } from "../format";
import { toHash } from "../router";
import { type Catalog, codedValue, verdictsOf } from "./catalog";
import { cardFrame } from "./frames";
import { columnLabel, valueLabel } from "./labels";
import { verdictMark } from "./verdict";

export function cards(catalog: Catalog, places: Int32Array, params: URLSearchParams): HTMLElement {
  const list = [...places].map((place) =>
    h(
      "li",
      { class: "card" },
      cardFrame(catalog, place),
      h("h2", {}, itemLink(catalog, place, params)),
      h("p", { class: "card-id" }, said(catalog.index.texts.id[place] ?? "")),
      h("p", { class: "card-end" }, outcomeText(catalog, place)),
      h("p", { class: "verdicts" }, ...verdictMarks(catalog, place)),
    ),
  );
  return h("ol", { class: "cards" }, ...list);
}

export function rows(catalog: Catalog, places: Int32Array, params: URLSearchParams): HTMLElement {
  const names = ["type", "relation", "stratum", "letter"].filter((name) =>
    catalog.facets.some((facet) => facet.name === name),
  );
  const header = ["question", "id", "outcome", ...names].map((name) => columnLabel(name));
  const numbers = [...catalog.numbers].filter(
    ([name]) => name === "think_words" || name === "duration_s",
  );
  const numberHeader = numbers.map(([name]) =>
    h("th", { scope: "col", class: "number" }, columnLabel(name)),
  );
  const body = [...places].map((place) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, itemLink(catalog, place, params)),
      h("td", { class: "row-id" }, said(catalog.index.texts.id[place] ?? "")),
      h("td", {}, outcomeText(catalog, place)),
      ...names.map((name) => h("td", {}, valueText(catalog, name, place))),
      ...numbers.map(([, column]) => h("td", { class: "number" }, numberText(column[place]))),
      h("td", { class: "verdicts" }, ...verdictMarks(catalog, place)),
    ),
  );
  return scrolling(
    "Items",
    h(
      "table",
      { class: "rows" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ...header.map((label) => h("th", { scope: "col" }, label)),
          ...numberHeader,
          h("th", { scope: "col" }, "Answers"),
        ),
      ),
      h("tbody", {}, ...body),
    ),
  );
}

/** What became of the item: its place in the data and why it left, or its benchmark. */
export function outcomeText(catalog: Catalog, place: number): string {
  const outcome = valueText(catalog, "outcome", place);
  const reason = valueText(catalog, "reason", place);
  if (outcome === "") return valueText(catalog, "origin", place);
  return reason === "" ? outcome : `${outcome}: ${reason}`;
}

function itemLink(catalog: Catalog, place: number, params: URLSearchParams): HTMLElement {
  const question = catalog.index.texts.question[place]?.trim() || "(no question)";
  const href = toHash("item", params, String(place));
  return h("a", { href, class: "item-link", "data-place": place }, said(question));
}

function verdictMarks(catalog: Catalog, place: number): Child[] {
  return verdictsOf(catalog, place).map((column) => verdictMark(column, place));
}

function valueText(catalog: Catalog, name: string, place: number): string {
  const value = codedValue(catalog, name, place);
  return value === null ? "" : valueLabel(name, value);
}

function numberText(value: number | undefined): string {
  return value === undefined || Number.isNaN(value) ? "" : formatCount(value);
}
