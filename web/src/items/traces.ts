// The teachers' traces and the merged trace side by side, and what gates and judges said of it.

import { type Child, h, said } from "../dom";
import { scrolling } from "../fit";
import type { Template } from "../types";
import { annotated, type Span } from "./annotate";
import { modalityLabel, valueLabel } from "./labels";
import { callOf } from "./prompts";
import type { Item, Merged, Source, Trace } from "./types";
import { sign } from "./verdict";

const SOURCES = {
  vision: "from the vision teacher",
  audio: "from the audio teacher",
  both: "from both",
};

export function tracesSection(item: Item, templates: Template[]): Child {
  if (item.traces.length === 0 && item.merged === null) return null;
  return h(
    "section",
    { "aria-labelledby": "traces-title" },
    h("h2", { id: "traces-title" }, "Traces"),
    item.merged && legend(item),
    traceBoxes(item, templates),
  );
}

/** A column for each role, the merged trace last; with `templates`, each with its call. */
export function traceBoxes(item: Item, templates: Template[] | null): HTMLElement {
  const call = (source: Source): Child[] => (templates ? callOf(item, source, templates) : []);
  const roles = [...new Set(item.traces.map(({ role }) => role))];
  const columns = roles.map((role) => {
    const traces = item.traces.filter((trace) => trace.role === role);
    return h("div", { class: "column" }, ...traces.map((trace) => traceBox(trace, call(trace))));
  });
  const { merged } = item;
  const last = merged && mergedBox(merged, item, call(merged));
  return h("div", { class: "texts" }, ...columns, last);
}

export function checksSection(item: Item): Child {
  const gates = Object.entries(item.gates);
  if (gates.length === 0 && item.findings.length === 0) return null;
  const rows = [
    ...gates.map(([name, words]) => checkRow("gate", valueLabel("gates", name), said(words))),
    ...item.findings.map(({ judge, finding, quote }) =>
      checkRow(
        judge,
        valueLabel("finding", finding),
        quote && h("mark", { class: "mark-quote said" }, quote),
      ),
    ),
  ];
  const header = ["Checked by", "Finding", "Words"].map((name) => h("th", { scope: "col" }, name));
  return h(
    "section",
    { "aria-labelledby": "checks-title" },
    h("h2", { id: "checks-title" }, "Gates and judges"),
    scrolling(
      "Table of gates and judges",
      h("table", {}, h("thead", {}, h("tr", {}, ...header)), h("tbody", {}, ...rows)),
    ),
  );
}

function checkRow(by: string, finding: string, words: Child): HTMLElement {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, said(by)),
    h("td", {}, said(finding)),
    h("td", {}, words),
  );
}

function traceBox(trace: Trace, call: Child[]): HTMLElement {
  const source = { v: "vision", a: "audio" }[trace.modality] ?? "other";
  const title =
    trace.k > 0 ? `${trace.role} teacher, trace ${trace.k + 1}` : `${trace.role} teacher`;
  return h(
    "section",
    { class: `text-box from-${source}` },
    h(
      "h3",
      {},
      said(title),
      h("small", {}, ` got ${modalityLabel(trace.modality)}`),
      trace.right !== null && rightMark(trace.right),
    ),
    trace.status !== "ok" && h("p", { class: "soft" }, said(trace.status.replaceAll("_", " "))),
    trace.cut && h("p", { class: "soft" }, "Cut at the longest length."),
    annotated(trace.text, []),
    ...call,
  );
}

function mergedBox(merged: Merged, item: Item, call: Child[]): HTMLElement {
  const isTarget = item.outcome === "train" || item.outcome === "validation";
  return h(
    "section",
    { class: "text-box merged" },
    h("h3", {}, "Merged trace", isTarget && h("small", {}, " the student's target")),
    merged.cut && h("p", { class: "soft" }, "Cut at the longest length."),
    annotated(merged.text, [...sourceSpans(merged), ...quoteSpans(merged, item)]),
    ...call,
  );
}

function sourceSpans(merged: Merged): Span[] {
  return merged.marks.map(([start, end, kind]) => ({ start, end, kind }));
}

function quoteSpans(merged: Merged, item: Item): Span[] {
  const places = [
    ...merged.gate_marks,
    ...item.findings.flatMap(({ at }) => (at === null ? [] : [at])),
  ];
  return places.map(([start, end]) => ({ start, end, kind: "quote" }));
}

export function legend(item: Item): HTMLElement {
  const marks = item.merged?.marks ?? [];
  const hasQuotes = item.merged !== null && quoteSpans(item.merged, item).length > 0;
  const entries = Object.entries(SOURCES).filter(([from]) =>
    marks.some((mark) => mark[2] === from),
  );
  return h(
    "ul",
    { class: "mark-legend", "aria-label": "Marks in the merged trace" },
    ...entries.map(([from, label]) => h("li", {}, h("mark", { class: `mark-${from}` }, label))),
    hasQuotes &&
      h("li", {}, h("mark", { class: "mark-quote" }, "what a gate or a judge objects to")),
  );
}

function rightMark(isRight: boolean): HTMLElement {
  return h(
    "span",
    { class: "verdict" },
    sign(isRight ? "right" : "wrong"),
    isRight ? " right" : " wrong",
  );
}
