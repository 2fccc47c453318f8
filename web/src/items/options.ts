import { h, said } from "../dom";
import type { Item } from "./types";

/** As in src/avrt/types.py. */
export const LETTERS = "ABCDEFGH";

/** The options with their letters; the right one is marked in words. */
export function optionList(item: Item): HTMLElement {
  const list = item.options.map((option, number) => {
    const letter = LETTERS[number] ?? "?";
    const isTarget = letter === item.target;
    return h(
      "li",
      { class: isTarget ? "option target" : "option" },
      h("b", {}, letter),
      " ",
      said(option),
      isTarget && h("span", { class: "gold" }, "✓ right answer"),
    );
  });
  return h("ol", { class: "options", "aria-label": "Options" }, ...list);
}
