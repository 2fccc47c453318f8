// Charts with a row for each name: points with intervals, and bars.

import * as Plot from "@observablehq/plot";
import type { Bars, Dot, Dots } from "../types";
import { colour, counted, fitted, inWords, shapeOf, widthOf } from "./parts";

type Placed = Dot & { place: number };

/** Points with their 95 % intervals; the series of a row stand below each other. */
export function drawDots(chart: Dots, width: number): SVGElement | HTMLElement {
  const names = [...new Set(chart.rows.map((row) => row.y))];
  const left = leftMargin(names, width);
  const gap = 0.8 / Math.max(chart.series.length, 2);
  const marks = chart.series.flatMap((series, place) => {
    const offset = gap * (place - (chart.series.length - 1) / 2);
    const rows: Placed[] = chart.rows
      .filter((row) => row.series === series.name)
      .map((row) => ({ ...row, place: names.indexOf(row.y) + offset }));
    const stroke = colour(series.colour);
    return [
      Plot.ruleY(rows, { y: "place", x1: "low", x2: "high", stroke, strokeWidth: 2 }),
      Plot.dot(rows, {
        x: "value",
        y: "place",
        symbol: shapeOf(place),
        r: 4.5,
        fill: stroke,
        title: (row: Dot) => inWords(row),
        ...hrefOf(rows),
      }),
    ];
  });
  const rule = chart.line
    ? [Plot.ruleX([chart.line.value], { strokeDasharray: "3 3", strokeOpacity: 0.8 })]
    : [];
  return Plot.plot({
    ...frame(width, left, names.length * Math.max(34, 15 * chart.series.length) + 50),
    x: { label: chart.x, labelAnchor: "center", labelArrow: "none", grid: true, ...domain(chart) },
    y: { domain: [names.length - 0.5, -0.5], axis: null },
    marks: [stripes(names.length), rowNames(names, left), ...rule, ...marks],
  });
}

/** Bars with their 95 % intervals, or parts of a whole beside each other. */
export function drawBars(chart: Bars, width: number): SVGElement | HTMLElement {
  const names = [...new Set(chart.rows.map((row) => row.y))];
  const left = leftMargin(names, width);
  const n = chart.stack ? 1 : chart.series.length;
  const marks = chart.stack ? stackedMarks(chart, names) : besideMarks(chart, names);
  return Plot.plot({
    ...frame(width, left, names.length * Math.max(24, 14 * n + 6) + 50),
    marginRight: chart.stack
      ? 16
      : 14 + Math.max(...chart.rows.map((row) => widthOf(barText(row)))),
    x: {
      label: chart.x,
      labelAnchor: "center",
      labelArrow: "none",
      grid: true,
      ...(chart.stack ? { domain: [0, 100] } : {}),
    },
    y: { domain: [names.length - 0.5, -0.5], axis: null },
    marks: [rowNames(names, left), ...marks, Plot.ruleX([0])],
  });
}

function besideMarks(chart: Bars, names: string[]): Plot.Markish[] {
  const beside = (row: Dot): string[] =>
    chart.series
      .map(({ name }) => name)
      .filter((name) => chart.rows.some((each) => each.y === row.y && each.series === name));
  const most = Math.max(...chart.rows.map((row) => beside(row).length));
  const height = 0.84 / most;
  return chart.series.flatMap((series) => {
    const rows: Placed[] = chart.rows
      .filter((row) => row.series === series.name)
      .map((row) => ({
        ...row,
        place:
          names.indexOf(row.y) +
          height * (beside(row).indexOf(row.series) - (beside(row).length - 1) / 2),
      }));
    return [
      Plot.rect(rows, {
        x1: 0,
        x2: "value",
        y1: (row: Placed) => row.place - 0.46 * height,
        y2: (row: Placed) => row.place + 0.46 * height,
        fill: colour(series.colour),
        title: (row: Dot) => inWords(row),
        ...hrefOf(rows),
      }),
      Plot.ruleY(
        rows.filter((row) => row.low !== undefined),
        { y: "place", x1: "low", x2: "high", strokeWidth: 1, strokeOpacity: 0.7 },
      ),
      Plot.text(rows, {
        x: (row: Dot) => row.high ?? row.value,
        y: "place",
        text: barText,
        textAnchor: "start",
        dx: 5,
        fontSize: 11,
      }),
    ];
  });
}

function barText(row: Dot): string {
  return `${row.text}${row.k === undefined ? "" : ` (${row.k.toLocaleString("en")})`}`;
}

function stackedMarks(chart: Bars, names: string[]): Plot.Markish[] {
  const parts = names.flatMap((name, place) => {
    let end = 0;
    return chart.series.flatMap((series) => {
      const row = chart.rows.find((each) => each.y === name && each.series === series.name);
      if (row === undefined || row.value === 0) return [];
      const start = end;
      end += row.value;
      return [{ ...row, start, end, place, fill: colour(series.colour) }];
    });
  });
  const words = (row: Dot): string =>
    `${inWords(row)}${row.k === undefined ? "" : `, ${counted(row.k, row.n)}`}`;
  return [
    Plot.rect(parts, {
      x1: "start",
      x2: "end",
      y1: (part: { place: number }) => part.place - 0.36,
      y2: (part: { place: number }) => part.place + 0.36,
      fill: "fill",
      title: words,
      inset: 0.5,
      ...hrefOf(parts),
    }),
  ];
}

function frame(width: number, marginLeft: number, height: number) {
  return {
    width,
    height,
    marginLeft,
    marginRight: 16,
    marginTop: 8,
    marginBottom: 42,
    color: { type: "identity" as const },
    style: { fontSize: "12px", background: "transparent", overflow: "visible" },
  };
}

function domain(chart: Dots): Plot.ScaleOptions {
  return chart.domain ? { domain: chart.domain } : { nice: true, inset: 6 };
}

/** Every other row on a ground of its own, so that marks are read to their names. */
function stripes(n: number): Plot.Markish {
  const odd = Array.from({ length: n }, (_, place) => place).filter((place) => place % 2 === 1);
  return Plot.rect(odd, {
    y1: (place: number) => place - 0.5,
    y2: (place: number) => place + 0.5,
    fill: "var(--panel)",
  });
}

function rowNames(names: string[], left: number): Plot.Markish {
  return Plot.text(names, {
    frameAnchor: "left",
    y: (_: string, place: number) => place,
    text: (name: string) => fitted(name, left - 12),
    title: (name: string) => name,
    textAnchor: "end",
    dx: -8,
    fontSize: 12,
  });
}

function leftMargin(names: string[], width: number): number {
  const widest = Math.max(...names.map(widthOf)) + 16;
  return Math.min(Math.max(48, widest), width * 0.42);
}

function hrefOf(rows: { href?: string }[]): { href?: string } {
  return rows.some((row) => row.href) ? { href: "href" } : {};
}
