// A text with parts of it marked: by source, by what gates and judges object to, by difference. Pure but for
// `annotated`, which turns the pieces into nodes.

import { diffWordsWithSpace } from "diff";
import { h } from "../dom";

export interface Span {
  start: number;
  end: number;
  kind: string;
}

export interface Piece {
  text: string;
  kinds: string[];
}

/** Changed words after which two texts count as different altogether. */
const MAX_DIFF = 400;
/** Characters from which on a text may need to scroll: the box must be reached by key then. */
const SCROLLING = 600;

/** The text in pieces, each with the kinds of all spans that cover it. */
export function piecesOf(text: string, spans: Span[]): Piece[] {
  const inside = spans
    .map(({ start, end, kind }) => ({
      start: Math.max(0, start),
      end: Math.min(text.length, end),
      kind,
    }))
    .filter(({ start, end }) => start < end);
  const edges = [...new Set([0, text.length, ...inside.flatMap(({ start, end }) => [start, end])])];
  edges.sort((a, b) => a - b);
  return edges.slice(0, -1).map((start, number) => {
    const end = edges[number + 1] ?? text.length;
    const covering = inside.filter((span) => span.start <= start && span.end >= end);
    return { text: text.slice(start, end), kinds: [...new Set(covering.map(({ kind }) => kind))] };
  });
}

/** The parts of `text` that `base` does not have; null: the two have little in common. */
export function addedSpans(base: string, text: string): Span[] | null {
  const changes = diffWordsWithSpace(base, text, { maxEditLength: MAX_DIFF });
  if (changes === undefined) return null;
  const spans: Span[] = [];
  let start = 0;
  for (const { added, removed, value } of changes) {
    if (removed) continue;
    if (added) spans.push({ start, end: start + value.length, kind: "added" });
    start += value.length;
  }
  return spans;
}

/** The text as pre-formatted nodes; a marked piece has the class "mark-KIND". */
export function annotated(text: string, spans: Span[]): HTMLElement {
  const pieces = piecesOf(text, spans).map(({ text: part, kinds }) =>
    kinds.length === 0
      ? part
      : h("mark", { class: kinds.map((kind) => `mark-${kind}`).join(" ") }, part),
  );
  return h(
    "pre",
    { class: "said text", dir: "auto", tabindex: text.length > SCROLLING ? "0" : null },
    ...(text === "" ? ["(no text)"] : pieces),
  );
}
