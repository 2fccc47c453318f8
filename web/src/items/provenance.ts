// Which model wrote each text, from which prompt, with how many tokens, in what time, and the key of
// the call in the ledger.

import { type Child, h, said } from "../dom";
import { scrolling } from "../fit";
import { formatCount } from "../format";
import { modalityLabel } from "./labels";
import type { Item, Source } from "./types";

const HEADER = ["Text", "Model", "Prompt", "Status", "Call in the ledger"];
const NUMBERS = ["Tokens read", "Tokens written", "Seconds"];

export function provenanceSection(item: Item): Child {
  const { source, traces, merged, answers } = item;
  const rows = [
    ...traces.map((trace) => row(`${trace.role} teacher`, trace.status, trace)),
    ...(merged === null ? [] : [row("merged trace", merged.status, merged)]),
    ...answers.map((answer) =>
      row(`answer with ${modalityLabel(answer.modality)}`, answer.verdict, answer),
    ),
  ];
  const head = [
    ...HEADER.map((name) => h("th", { scope: "col" }, name)),
    ...NUMBERS.map((name) => h("th", { scope: "col", class: "number" }, name)),
  ];
  return h(
    "details",
    { class: "provenance" },
    h("summary", {}, h("h2", {}, "Where the texts come from")),
    source && h("p", {}, "Question: ", said(source)),
    rows.length > 0 &&
      scrolling(
        "Table of texts",
        h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)),
      ),
  );
}

function row(text: string, status: string, source: Source): HTMLElement {
  const [read, written] = source.tokens ?? [null, null];
  const numbers = [numberText(read), numberText(written), source.latency_s?.toFixed(2) ?? ""];
  const ending = source.cut ? `${status}, cut at the longest length` : status;
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, said(text)),
    ...[source.model, source.prompt, ending.replaceAll("_", " ")].map((value) =>
      h("td", {}, said(value ?? "")),
    ),
    h("td", {}, source.key && h("code", { title: source.key }, source.key.slice(0, 12))),
    ...numbers.map((number) => h("td", { class: "number" }, number)),
  );
}

function numberText(value: number | null): string {
  return value === null ? "" : formatCount(value);
}
