import { type Child, h } from "../dom";
import { formatCount } from "../format";

/** First, previous, next and last page; `turn` gives the address of a page. */
export function pager(page: number, nPages: number, turn: (page: number) => string): HTMLElement {
  const link = (label: string, to: number): Child =>
    to >= 1 && to <= nPages && to !== page
      ? h("a", { href: turn(to) }, label)
      : h("span", { class: "soft" }, label);
  return h(
    "nav",
    { class: "pager", "aria-label": "Pages", hidden: nPages < 2 },
    link("First", 1),
    link("Previous", page - 1),
    h("span", {}, `page ${formatCount(page)} of ${formatCount(nPages)}`),
    link("Next", page + 1),
    link("Last", nPages),
  );
}
