// The prompt of a text as it was sent: the template that other prompts share, filled from the item.
// src/avrt/report/item_calls.py takes prompts apart; both give each field the same text.

import { type Child, folded, h, said } from "../dom";
import type { Template } from "../types";
import { LETTERS } from "./options";
import type { Item, Source } from "./types";

export interface Prompt {
  system: string | null;
  user: string;
}

/** Null: the ledger does not have the call. */
export function promptOf(item: Item, source: Source, templates: Template[]): Prompt | null {
  const template = typeof source.asked === "number" ? templates[source.asked] : source.asked;
  if (template === undefined) return null;
  const fields = fieldsOf(item, source);
  const fill = (parts: string[]): string =>
    parts.map((part, number) => (number % 2 === 1 ? (fields.get(part) ?? "") : part)).join("");
  return { system: template.system ? fill(template.system) : null, user: fill(template.user) };
}

/** Who wrote a text and in what time; on request, what was asked. */
export function callOf(item: Item, source: Source, templates: Template[]): Child[] {
  if (!source.key) return [source.model && h("p", { class: "call soft" }, said(source.model))];
  const seconds = source.latency_s === undefined ? "" : `, ${source.latency_s.toFixed(2)} s`;
  const prompt = promptOf(item, source, templates);
  const hasMedia = "modality" in source && source.modality !== "none";
  return [
    h("p", { class: "call soft" }, said(source.model ?? "unknown model"), seconds),
    prompt === null
      ? h("p", { class: "call soft" }, "The run's ledger does not have this call.")
      : folded("Prompt", () => h("div", { class: "prompt" }, ...partsOf(prompt, hasMedia))),
  ];
}

function partsOf({ system, user }: Prompt, hasMedia: boolean): Child[] {
  const part = (title: string, text: string): Child[] => [
    h("p", { class: "soft" }, title),
    h("pre", { class: "said text", dir: "auto", tabindex: "0" }, text),
  ];
  return [
    ...(system === null ? [] : part("System", system)),
    ...part(hasMedia ? "User, after the media" : "User", user),
  ];
}

function fieldsOf(item: Item, source: Source): Map<string, string> {
  const order = source.order ?? item.options.map((_, place) => place);
  const given = order.map((place) => item.options[place] ?? "").slice(0, LETTERS.length);
  const listed = (write: (letter: string, option: string) => string): string =>
    given.map((option, place) => write(LETTERS[place] ?? "", option)).join("\n");
  const target = item.options[LETTERS.indexOf(item.target ?? "-")] ?? "";
  return new Map([
    ["question", item.question],
    ["options", listed((letter, option) => `(${letter}) ${option}`)],
    ["lettered_options", listed((letter, option) => `${letter}. ${option}`)],
    ["answer", `(${item.target}) ${target}`],
    ...item.traces.map(({ text }, number): [string, string] => [
      `trace ${number}`,
      text.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, ""),
    ]),
  ]);
}
