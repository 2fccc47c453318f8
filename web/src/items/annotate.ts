// A text with parts of it marked: by source, by what gates and judges object to, by difference. Pure but for
// `annotated`, which turns the pieces into nodes.

import { diffWordsWithSpace } from "diff";
import { type Child, h } from "../dom";

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

/** `text` with the words that `base` has not ("added") or has besides ("removed"); null: the two have
 * little in common. */
export function changesFrom(base: string, text: string): Piece[] | null {
  const changes = diffWordsWithSpace(base, text, { maxEditLength: MAX_DIFF });
  if (changes === undefined) return null;
  return changes.map(({ added, removed, value }) => ({
    text: value,
    kinds: added ? ["added"] : removed ? ["removed"] : [],
  }));
}

/** The text as pre-formatted nodes; a marked piece has the class "mark-KIND". */
export function annotated(text: string, spans: Span[]): HTMLElement {
  return pieced(piecesOf(text, spans));
}

/** Pieces as pre-formatted nodes. */
export function pieced(pieces: Piece[]): HTMLElement {
  const length = pieces.reduce((sum, { text }) => sum + text.length, 0);
  return h(
    "pre",
    { class: "said text", dir: "auto", tabindex: length > SCROLLING ? "0" : null },
    ...(length === 0 ? ["(no text)"] : pieces.map(pieceNode)),
  );
}

function pieceNode({ text, kinds }: Piece): Child {
  const kind = kinds[0];
  if (kind === undefined) return text;
  if (kind === "added" || kind === "removed") {
    const says = (words: string): HTMLElement => h("span", { class: "sr" }, words); // for a screen reader
    const tag = kind === "added" ? "ins" : "del";
    return h(tag, { class: `mark-${kind}` }, says(` [${kind}: `), text, says("] "));
  }
  return h("mark", { class: kinds.map((each) => `mark-${each}`).join(" ") }, text);
}
