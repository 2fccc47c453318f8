// A table that is sorted by its headers and lies in the folder as CSV, JSON and Markdown.

import { h, replaceChildren, said } from "./dom";
import { scrolling } from "./fit";
import type { Cell, Table } from "./types";

type Order = "ascending" | "descending";

export function buildTable(name: string, table: Table): HTMLElement {
  const body = h("tbody");
  const heads = table.header.map((title, column) => head(title, column < table.text_columns));
  let sorted: { column: number; order: Order } | null = null;
  const fill = (): void => {
    const rows = sorted === null ? table.rows : sortRows(table, sorted.column, sorted.order);
    replaceChildren(body, ...rows.map((row) => buildRow(row, table.text_columns)));
    heads.forEach((each, column) => {
      if (sorted?.column === column) each.setAttribute("aria-sort", sorted.order);
      else each.removeAttribute("aria-sort");
    });
  };
  heads.forEach((each, column) => {
    each.querySelector("button")?.addEventListener("click", () => {
      sorted = nextOrder(sorted, column, column < table.text_columns);
      fill();
    });
  });
  fill();
  return h(
    "div",
    { class: table.header.length > 3 ? "table wide" : "table" },
    scrolling(
      table.caption,
      h(
        "table",
        {},
        h("caption", {}, said(table.caption)),
        h("thead", {}, h("tr", {}, ...heads)),
        body,
      ),
    ),
    ...table.notes.map((note) => h("p", { class: "note" }, said(note))),
    downloads(name, table.caption),
  );
}

function head(title: string, isText: boolean): HTMLElement {
  const button = h("button", { type: "button", class: "sort" }, said(title || "Row"));
  return h("th", { scope: "col", class: isText ? "words" : false }, button);
}

/** First the order that readers want: names from A, numbers from the largest; third, the given one. */
function nextOrder(
  sorted: { column: number; order: Order } | null,
  column: number,
  isText: boolean,
): { column: number; order: Order } | null {
  const first: Order = isText ? "ascending" : "descending";
  if (sorted?.column !== column) return { column, order: first };
  if (sorted.order !== first) return null;
  return { column, order: first === "ascending" ? "descending" : "ascending" };
}

function buildRow(row: (string | Cell)[], nWords: number): HTMLElement {
  return h(
    "tr",
    {},
    ...row.map((cell, column) => {
      const content = typeof cell === "string" ? [said(cell)] : cellContent(cell);
      if (column === 0) return h("th", { scope: "row", class: "words" }, ...content);
      return h("td", { class: column < nWords ? "words" : false }, ...content);
    }),
  );
}

function cellContent(cell: Cell): Node[] {
  const text = said(cell.text);
  const value = cell.href
    ? h("a", { href: cell.href, class: cell.strong ? "strong" : false }, text)
    : h("span", { class: cell.strong ? "strong" : false }, text);
  return [
    value,
    ...(cell.mark
      ? [h("span", { class: `mark ${cell.strong ? "best" : "near"}` }, cell.mark)]
      : []),
    ...(cell.details ?? []).map((detail) => h("small", {}, said(detail))),
  ];
}

function downloads(name: string, caption: string): HTMLElement {
  const links = [
    ["CSV", "csv"],
    ["JSON", "json"],
    ["Markdown", "md"],
  ].map(([title, ending]) =>
    h(
      "a",
      {
        href: `tables/${encodeURIComponent(name)}.${ending}`,
        download: `${name}.${ending}`,
        "aria-label": `${caption} as ${title}`,
      },
      title,
    ),
  );
  return h("p", { class: "downloads" }, "Download ", ...links.flatMap((link) => [link, " "]));
}

/** The rows in another order; an empty first cell stands for the one above it. */
export function sortRows(table: Table, column: number, order: Order): (string | Cell)[][] {
  let last: string | Cell = "";
  const rows = table.rows.map((row) => {
    const first = row[0] ?? "";
    if (textOf(first) !== "" || table.text_columns < 2) last = first;
    return [last, ...row.slice(1)];
  });
  const isText = column < table.text_columns;
  const sign = order === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => ({ row, key: sortKey(row[column] ?? "", isText) }));
  keyed.sort((a, b) => compareKeys(a.key, b.key, sign));
  return keyed.map(({ row }) => row);
}

type Key = number | string | null;

/** A number where the cell shows one; null, which comes last, for a dash. */
export function sortKey(cell: string | Cell, isText: boolean): Key {
  if (typeof cell !== "string" && cell.value !== undefined) return cell.value;
  const text = textOf(cell);
  if (isText) return text;
  const match = /[+−-]?\d[\d,]*(\.\d+)?/.exec(text);
  if (match === null) return text === "" || text === "–" ? null : text;
  return Number(match[0].replaceAll(",", "").replace("−", "-"));
}

function compareKeys(a: Key, b: Key, sign: number): number {
  if (a === null || b === null) return +(a === null) - +(b === null);
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), "en", { numeric: true });
}

function textOf(cell: string | Cell): string {
  return typeof cell === "string" ? cell : cell.text;
}
