// A chart with its caption, legend and note, drawn when it comes near the window and again when the
// width changes; its table is its text alternative, below it unless the section shows it anyway.

import { folded, h, replaceChildren, said } from "../dom";
import { buildTable } from "../table";
import type { Chart, Report } from "../types";
import { drawFlow } from "./flow";
import { drawLines } from "./lines";
import { drawMatrix } from "./matrix";
import { legend } from "./parts";
import { drawBars, drawDots } from "./rows";

export function buildFigure(
  name: string,
  report: Report,
  level: 2 | 3 = 3,
  shown: string[] = [],
): HTMLElement {
  const chart = report.charts?.[name];
  if (chart === undefined) return h("p", { class: "missing" }, `The chart ${name} is missing.`);
  const plot = h("div", { class: "plot" });
  const title = h(level === 2 ? "h2" : "h3", {}, said(chart.title));
  const table = chart.table === undefined ? undefined : report.tables?.[chart.table];
  const figure = h(
    "figure",
    { class: `chart ${chart.kind}${isSmall(chart) ? " small" : ""}` },
    h("figcaption", {}, title),
    legendOf(chart),
    plot,
    chart.note ? h("p", { class: "note" }, chart.note) : null,
    table && chart.table && !isSmall(chart) && !shown.includes(chart.table)
      ? folded("The same numbers as a table", () => buildTable(chart.table ?? "", table))
      : null,
  );
  drawInTime(plot, (width) => dress(draw(chart, width), chart));
  return figure;
}

export function isSmall(chart: Chart | undefined): boolean {
  return chart?.kind === "lines" && chart.small === true;
}

function legendOf(chart: Chart): HTMLElement | null {
  if (chart.kind === "dots") return legend(chart.series, "mark", chart.line);
  if (chart.kind === "bars") return legend(chart.series, "box");
  if (chart.kind === "lines" && !chart.small) return legend(chart.lines, "line", chart.line);
  return null;
}

function draw(chart: Chart, width: number): Element {
  if (chart.kind === "dots") return drawDots(chart, width);
  if (chart.kind === "bars") return drawBars(chart, width);
  if (chart.kind === "lines") return drawLines(chart, width);
  if (chart.kind === "flow") return drawFlow(chart, width);
  return drawMatrix(chart);
}

function drawInTime(plot: HTMLElement, build: (width: number) => Element): void {
  let drawn = 0;
  const redraw = (): void => {
    const width = Math.floor(plot.clientWidth);
    if (width === 0 || width === drawn) return;
    drawn = width;
    replaceChildren(plot, build(width));
  };
  const resized = new ResizeObserver(() => requestAnimationFrame(redraw));
  const near = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      near.disconnect();
      redraw();
      resized.observe(plot);
    },
    { rootMargin: "800px" },
  );
  near.observe(plot);
  window.addEventListener("beforeprint", () => {
    if (plot.isConnected) redraw();
  });
}

/** Names for a screen reader, and one tab stop: the arrows go from mark to mark. */
function dress(drawn: Element, chart: Chart): Element {
  const root = drawn instanceof SVGElement ? drawn : drawn.querySelector("svg");
  if (root === null) return drawn;
  const links = [...root.querySelectorAll<SVGAElement>("a")];
  root.setAttribute("role", links.length > 0 ? "group" : "img");
  root.setAttribute("aria-label", chart.title);
  for (const group of root.querySelectorAll("g")) {
    group.removeAttribute("aria-label");
    if (group.querySelector("a") === null) group.setAttribute("aria-hidden", "true");
  }
  links.forEach((link, place) => {
    link.setAttribute("aria-label", link.querySelector("title")?.textContent ?? chart.title);
    link.setAttribute("tabindex", place === 0 ? "0" : "-1");
    link.addEventListener("keydown", (event) => moveFocus(event, links, place));
  });
  return drawn;
}

function moveFocus(event: KeyboardEvent, links: SVGAElement[], place: number): void {
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key] ?? 0;
  const next = links[place + by];
  if (by === 0 || next === undefined) return;
  event.preventDefault();
  links[place]?.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
}
