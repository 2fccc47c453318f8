// Lines over training steps: thin, their moving average thick, bands where there are intervals.

import * as Plot from "@observablehq/plot";
import type { Line, Lines, Point } from "../types";
import { colour, shapeOf, short } from "./parts";

const STEP = (point: Point): number => point[0];
const VALUE = (point: Point): number => point[1];

export function drawLines(chart: Lines, width: number): SVGElement | HTMLElement {
  const rule = chart.line
    ? [Plot.ruleY([chart.line.value], { strokeDasharray: "3 3", strokeOpacity: 0.8 })]
    : [];
  return Plot.plot({
    width,
    height: chart.small ? 196 : Math.min(380, Math.max(240, width * 0.42)),
    marginLeft: 64,
    marginRight: 16,
    marginTop: chart.y ? 22 : 10,
    marginBottom: 42,
    color: { type: "identity" },
    style: { fontSize: "12px", background: "transparent", overflow: "visible" },
    x: {
      label: chart.x,
      labelAnchor: "center",
      labelArrow: "none",
      ticks: Math.ceil(width / 90),
      tickFormat: (step: number) => (Number.isInteger(step) ? step.toLocaleString("en") : ""),
    },
    y: {
      label: chart.y ?? null,
      labelArrow: "none",
      grid: true,
      ticks: chart.small ? 4 : 6,
      ...(chart.domain ? { domain: chart.domain } : { nice: true }),
      tickFormat: (value: number) => short(value),
    },
    marks: [...rule, ...chart.lines.flatMap(lineMarks), tip(chart.lines)],
  });
}

function lineMarks(line: Line, place: number): Plot.Markish[] {
  const stroke = colour(line.colour);
  const band = line.points.filter((point) => point[2] !== undefined);
  return [
    Plot.areaY(band, {
      x: STEP,
      y1: (p: Point) => p[2],
      y2: (p: Point) => p[3],
      fill: stroke,
      fillOpacity: 0.14,
    }),
    Plot.line(line.points, {
      x: STEP,
      y: VALUE,
      stroke,
      strokeWidth: line.smooth ? 0.8 : 2,
      strokeOpacity: line.smooth ? 0.4 : 1,
    }),
    Plot.line(line.smooth ?? [], { x: STEP, y: VALUE, stroke, strokeWidth: 2 }),
    line.marks || line.points.length < 12
      ? Plot.dot(line.points, { x: STEP, y: VALUE, fill: stroke, symbol: shapeOf(place), r: 3.5 })
      : null,
  ];
}

/** What stands nearest to the pointer. */
function tip(lines: Line[]): Plot.Markish {
  const points = lines.flatMap((line) =>
    line.points.map((point) => ({ step: point[0], value: point[1], point, name: line.name })),
  );
  return Plot.tip(
    points,
    Plot.pointer({
      x: "step",
      y: "value",
      fill: "var(--paper)",
      stroke: "var(--edge)",
      title: ({ name, point }: { name: string; point: Point }) => {
        const interval =
          point[2] === undefined
            ? ""
            : `\n95 % interval ${short(point[2])} to ${short(point[3] ?? 0)}`;
        return `${name}, step ${point[0].toLocaleString("en")}: ${short(point[1])}${interval}`;
      },
    }),
  );
}
