// A matrix is a table whose cells are shaded by their share: read alike by eye, keyboard and ear.

import { h, said } from "../dom";
import { scrolling } from "../fit";
import type { Matrix, MatrixCell } from "../types";

export function drawMatrix(chart: Matrix): HTMLElement {
  return h("div", { class: "matrices" }, ...chart.panels.map((panel) => buildPanel(chart, panel)));
}

function buildPanel(chart: Matrix, panel: Matrix["panels"][number]): HTMLElement {
  const cells = new Map(panel.cells.map((cell) => [`${cell.y}\n${cell.x}`, cell]));
  return scrolling(
    panel.title || chart.title,
    h(
      "table",
      { class: "matrix" },
      h("caption", {}, said(panel.title)),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          chart.y === ""
            ? h("td")
            : h(
                "th",
                { scope: "col" },
                h("small", {}, `${chart.y} ↓`),
                h("small", {}, `${chart.x} →`),
              ),
          ...chart.xs.map((x) => h("th", { scope: "col" }, said(x))),
        ),
      ),
      h(
        "tbody",
        {},
        ...chart.ys.map((y) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, said(y)),
            ...chart.xs.map((x) => buildCell(cells.get(`${y}\n${x}`))),
          ),
        ),
      ),
    ),
  );
}

function buildCell(cell: MatrixCell | undefined): HTMLElement {
  if (cell === undefined) return h("td");
  const n = cell.n.toLocaleString("en");
  const interval = cell.interval === undefined ? "" : ` ${cell.interval}`;
  return h(
    "td",
    { style: `--share: ${Math.max(0, Math.min(100, cell.value))}%` },
    cell.href ? h("a", { href: cell.href }, n) : n,
    h("small", {}, `${cell.text}${interval}`),
  );
}
