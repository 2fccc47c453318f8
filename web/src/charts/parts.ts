// What all charts share: colours, shapes, the legend, labels that fit, words for a mark.

import { h, said, svg } from "../dom";
import type { Dot, Series } from "../types";

/** Point marks by the place of the series, so that colour is never alone. */
export const SHAPES = ["circle", "square", "triangle", "diamond", "star", "cross"] as const;
export type Shape = (typeof SHAPES)[number];

export function colour(name: string): string {
  return `var(--c-${/^\w+$/.test(name) ? name : "1"})`;
}

export function shapeOf(place: number): Shape {
  return SHAPES[place % SHAPES.length] ?? "circle";
}

export type Swatch = "mark" | "box" | "line";

/** The names of the series, above the drawing. */
export function legend(series: Series[], swatch: Swatch, line?: { name: string }): HTMLElement {
  const entries = series.map(({ name, colour: of }, place) =>
    h("li", {}, drawSwatch(swatch, colour(of), place), " ", said(name)),
  );
  const dashed = svg(
    "svg",
    { width: 20, height: 12, "aria-hidden": "true" },
    svg("line", { x1: 0, x2: 20, y1: 6, y2: 6, class: "dashed" }),
  );
  if (line) entries.push(h("li", {}, dashed, ` ${line.name}`));
  return h("ul", { class: "legend" }, ...entries);
}

function drawSwatch(swatch: Swatch, fill: string, place: number): SVGElement {
  const inner =
    swatch === "box"
      ? svg("rect", { x: 1, y: 1, width: 10, height: 10, fill })
      : swatch === "line"
        ? svg("line", { x1: 0, x2: 12, y1: 6, y2: 6, stroke: fill, "stroke-width": 2.5 })
        : svg("path", { d: SWATCHES[shapeOf(place)], transform: "translate(6 6)", fill });
  return svg("svg", { width: 12, height: 12, "aria-hidden": "true" }, inner);
}

const SWATCHES: Record<Shape, string> = {
  circle: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0Z",
  square: "M-4,-4h8v8h-8Z",
  triangle: "M0,-5L5,4H-5Z",
  diamond: "M0,-6L4,0L0,6L-4,0Z",
  star: "M0,-6L1.5,-2L6,-2L2.4,0.8L3.7,5L0,2.4L-3.7,5L-2.4,0.8L-6,-2L-1.5,-2Z",
  cross: "M-2,-5h4v3h3v4h-3v3h-4v-3h-3v-4h3Z",
};

const CHARACTER = 6.6;
/** Width in pixels, about that of a character at the charts' size of text. */

export function widthOf(text: string): number {
  return text.length * CHARACTER;
}

/** The text, or its beginning where it would be wider than this. */
export function fitted(text: string, width: number): string {
  const most = Math.max(4, Math.floor(width / CHARACTER));
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

/** A mark in words, for a tip and for a screen reader. */
export function inWords(dot: Dot): string {
  const of = dot.k === undefined ? `n = ${dot.n.toLocaleString("en")}` : counted(dot.k, dot.n);
  const mark = dot.mark ? `\n${dot.mark}` : "";
  const interval = dot.interval === undefined ? "" : `95 % interval ${dot.interval}, `;
  return `${dot.y}, ${dot.series}: ${dot.text}\n${interval}${of}${mark}`;
}

export function counted(k: number, n: number): string {
  return `${k.toLocaleString("en")} of ${n.toLocaleString("en")}`;
}

/** Five digits that count, for numbers of any size. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}
