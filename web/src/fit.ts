// A table that is wider than its column takes the whole width of its section; where it still has to
// scroll, its box ends with a column, so that no number is cut in two.

import { h } from "./dom";

/** The table in a box that scrolls and is named for a screen reader. */
export function scrolling(name: string, table: HTMLTableElement): HTMLElement {
  const attributes = { class: "scroll", role: "region", "aria-label": name, tabindex: "0" };
  const scroll = h("div", attributes, table);
  const box = h("div", { class: "room" }, scroll);
  fitToRoom(box, scroll);
  return box;
}

function fitToRoom(box: HTMLElement, scroll: HTMLElement): void {
  const fit = (): void => {
    const part = box.closest(".charts > *");
    part?.classList.remove("full");
    scroll.style.removeProperty("--end");
    if (isCut(scroll)) part?.classList.add("full");
    if (isCut(scroll)) endWithColumn(scroll);
  };
  new ResizeObserver(() => requestAnimationFrame(fit)).observe(box);
}

function isCut({ scrollWidth, clientWidth }: HTMLElement): boolean {
  return scrollWidth > clientWidth;
}

function endWithColumn(scroll: HTMLElement): void {
  const heads = [...scroll.querySelectorAll<HTMLElement>("thead :is(th, td)")];
  const ends = heads.map((head) => head.offsetLeft + head.offsetWidth);
  const end = endOfLast(ends, scroll.clientWidth);
  if (end !== null) scroll.style.setProperty("--end", `${end}px`);
}

/** The end of the last column that the room holds; null where that would leave most of it empty. */
export function endOfLast(ends: number[], room: number): number | null {
  const end = Math.max(...ends.filter((each) => each <= room));
  return end > room / 2 ? end : null;
}
