// What every evaluated model answered, with what differs from the base's answer.

import { type Child, h, said } from "../dom";
import { annotated, changesFrom, pieced } from "./annotate";
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
  const section = h(
    "section",
    { "aria-labelledby": "answers-title" },
    h("h2", { id: "answers-title" }, "Answers"),
    ...modalities.map((modality) =>
      modalityGroup(
        answers.filter((answer) => answer.modality === modality),
        base,
      ),
    ),
  );
  if (new Set(answers.map(({ model }) => model)).size > 1)
    section.children[0]?.after(differenceNote(base, section));
  return section;
}

/** What the marks mean, and whether removed words are shown: as chosen for the last item. */
let showsRemoved = true;

function differenceNote(base: string, section: HTMLElement): HTMLElement {
  const box = h("input", { type: "checkbox", checked: showsRemoved });
  const follow = (): void => {
    showsRemoved = box.checked;
    section.classList.toggle("without-removed", !showsRemoved);
  };
  box.addEventListener("change", follow);
  follow();
  return h(
    "p",
    { class: "soft difference" },
    "Beside the answer of ",
    said(base),
    ": ",
    h("ins", { class: "mark-added" }, "added"),
    " and ",
    h("del", { class: "mark-removed" }, "removed"),
    " words. ",
    h("label", {}, box, " show removed words"),
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
  const changes = base === null ? [] : changesFrom(base.text, answer.text);
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
    changes === null && h("p", { class: "soft" }, "Nearly all words differ from the base."),
    answer.cut && h("p", { class: "soft" }, "Cut at the longest length."),
    base === null || changes === null || answer.text === ""
      ? annotated(answer.text, [])
      : pieced(changes),
  );
}

function verdictOf({ right, verdict }: Answer): Verdict {
  if (right !== null)
    return right ? "right" : verdict.startsWith("no answer") ? "no_answer" : "wrong";
  return verdict.startsWith("no media") ? "no_media" : "failed";
}
