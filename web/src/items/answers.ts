// What every evaluated model answered; words that the base did not write are marked.

import { type Child, h, said } from "../dom";
import { addedSpans, annotated } from "./annotate";
import { richness, type Verdict } from "./catalog";
import { modalityLabel } from "./labels";
import type { Answer, Item } from "./types";
import { sign } from "./verdict";

export function answersSection(item: Item): Child {
  const { answers } = item;
  if (answers.length === 0) return null;
  const modalities = [...new Set(answers.map((answer) => answer.modality))];
  modalities.sort((a, b) => richness(b) - richness(a));
  const base = answers[0]?.model ?? "";
  return h(
    "section",
    { "aria-labelledby": "answers-title" },
    h("h2", { id: "answers-title" }, "Answers"),
    new Set(answers.map(({ model }) => model)).size > 1 &&
      h(
        "p",
        { class: "soft" },
        h("mark", { class: "mark-added" }, "Marked"),
        " words are not in the answer of ",
        said(base),
        ".",
      ),
    ...modalities.map((modality) =>
      modalityGroup(
        answers.filter((answer) => answer.modality === modality),
        base,
      ),
    ),
  );
}

function modalityGroup(answers: Answer[], base: string): HTMLElement {
  return h(
    "section",
    { class: "modality" },
    h("h3", {}, `With ${modalityLabel(answers[0]?.modality ?? "")}`),
    h(
      "div",
      { class: "texts" },
      ...answers.map((answer) => answerBox(answer, baseOf(answer, answers, base))),
    ),
  );
}

/** The base's answer to the same question; null for the base itself. */
export function baseOf(answer: Answer, answers: Answer[], base: string): Answer | null {
  const found = answers.find(
    ({ model, benchmark, k }) => model === base && benchmark === answer.benchmark && k === answer.k,
  );
  return found === undefined || found === answer ? null : found;
}

export function answerBox(answer: Answer, base: Answer | null): HTMLElement {
  const added = base === null ? [] : addedSpans(base.text, answer.text);
  const letter = answer.answer === null ? "" : `${answer.answer}, `;
  return h(
    "section",
    { class: "text-box" },
    h(
      "h4",
      {},
      said(answer.model),
      h("small", {}, " ", said(answer.benchmark), answer.k > 0 && `, answer ${answer.k + 1}`),
      h("span", { class: "verdict" }, sign(verdictOf(answer)), " ", said(letter + answer.verdict)),
    ),
    base !== null &&
      base.text === answer.text &&
      h("p", { class: "soft" }, "The same words as the base."),
    added === null && h("p", { class: "soft" }, "Nearly all words differ from the base."),
    answer.cut && h("p", { class: "soft" }, "Cut at the longest length."),
    annotated(answer.text, added ?? []),
  );
}

function verdictOf({ right, verdict }: Answer): Verdict {
  if (right !== null)
    return right ? "right" : verdict.startsWith("no answer") ? "no_answer" : "wrong";
  return verdict.startsWith("no media") ? "no_media" : "failed";
}
