// A verdict as a mark with a word: never by colour alone.

import { h } from "../dom";
import { VERDICT_LABELS, VERDICTS, type Verdict, type VerdictColumn } from "./catalog";
import { modalityLabel } from "./labels";

const SIGNS: Record<Verdict, string> = {
  right: "✓",
  wrong: "✗",
  no_answer: "–",
  failed: "!",
  no_media: "∅",
};

export function sign(verdict: Verdict): HTMLElement {
  return h("span", { class: `sign ${verdict}`, "aria-hidden": "true" }, SIGNS[verdict]);
}

/** "✓ MODEL", with the verdict and the input in words for a screen reader. */
export function verdictMark(column: VerdictColumn, place: number): HTMLElement {
  const verdict = VERDICTS[column.codes[place] ?? 0] ?? "failed";
  const words = `${VERDICT_LABELS[verdict]} with ${modalityLabel(column.modality)}`;
  return h(
    "span",
    { class: "verdict", title: `${column.model}: ${words}` },
    sign(verdict),
    ` ${column.model}`,
    h("span", { class: "sr" }, `: ${words}`),
  );
}
