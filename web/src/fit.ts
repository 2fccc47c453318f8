// A table that is wider than its column takes the whole width of its section; where it still has to
// scroll, its box ends with a column, so that no number is cut in two.

/** Keep the scrolling box inside `box` as wide as it has to be, whenever the room for it changes. */
export function fitToRoom(box: HTMLElement, scroll: HTMLElement): void {
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
