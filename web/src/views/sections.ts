// The views that are sections of the report: results, training, data, funnel.

import { buildFigure, isSmall } from "../charts/figure";
import { legend } from "../charts/parts";
import { type Child, folded, h, said } from "../dom";
import { buildTable } from "../table";
import type { Report, Section } from "../types";
import type { View } from "../views";

export function sectionsView(name: string, title: string): View {
  return (report, _, { argument }) => {
    const sections = (report.sections ?? []).filter((section) => section.view === name);
    const nodes = sections.map((section) => buildSection(section, report));
    if (argument !== "") queueMicrotask(() => scrollToPart(nodes, argument));
    return h(
      "section",
      { class: "report" },
      h("h1", {}, title),
      sections.length > 1 ? contents(name, sections) : null,
      ...nodes,
      sections.length === 0 ? h("p", { class: "missing" }, "Nothing here yet.") : null,
    );
  };
}

function scrollToPart(nodes: HTMLElement[], id: string): void {
  const part = nodes.find((node) => node.dataset.part === id);
  setTimeout(() => part?.scrollIntoView(), 50); // after the view is in the page
}

function contents(view: string, sections: Section[]): HTMLElement {
  const links = sections.map((section) =>
    h("a", { href: `#/${view}/${encodeURIComponent(section.id)}` }, said(section.title)),
  );
  return h(
    "nav",
    { class: "contents", "aria-label": "On this page" },
    h("ul", {}, ...links.map((link) => h("li", {}, link))),
  );
}

export function buildSection(section: Section, report: Report): HTMLElement {
  return h(
    "section",
    { class: "part", "data-part": section.id },
    h("h2", {}, said(section.title)),
    section.lead === "" ? null : h("p", { class: "lead" }, section.lead),
    ...section.said.flatMap(({ title, sentences }) => [
      h("h3", {}, said(title)),
      h("ul", { class: "said-list" }, ...sentences.map((text) => h("li", {}, said(text)))),
    ]),
    ...section.missing.map(missing),
    ...smallCharts(section, report),
    h(
      "div",
      { class: "charts" },
      ...largeCharts(section, report),
      ...(section.pictures ?? []).map(picture),
      ...section.tables.map((name) => table(name, report)),
    ),
    ...section.folded.map((name) =>
      folded(report.tables?.[name]?.caption ?? name, () => table(name, report)),
    ),
  );
}

function largeCharts(section: Section, report: Report): HTMLElement[] {
  return section.charts
    .filter((name) => !isSmall(report.charts?.[name]))
    .map((name) => buildFigure(name, report, 3, section.tables));
}

/** Many small charts with one legend. */
function smallCharts(section: Section, report: Report): Child[] {
  const found = section.charts.map((name) => [name, report.charts?.[name]] as const);
  const small = found.filter(([, chart]) => isSmall(chart));
  if (small.length === 0) return [];
  const lines = small.flatMap(([, chart]) => (chart?.kind === "lines" ? chart.lines : []));
  const series = [...new Map(lines.map((line) => [line.name, line])).values()];
  return [
    legend(series, "line"),
    h("div", { class: "charts many" }, ...small.map(([name]) => buildFigure(name, report))),
  ];
}

function picture({ file, caption }: { file: string; caption: string }): HTMLElement {
  return h(
    "figure",
    { class: "picture" },
    h("figcaption", {}, said(caption)),
    h("img", { src: file, alt: caption }),
  );
}

export function table(name: string, report: Report): HTMLElement {
  const found = report.tables?.[name];
  if (found === undefined) return h("p", { class: "missing" }, `The table ${name} is missing.`);
  return buildTable(name, found);
}

/** A sentence in which commands stand between backticks. */
export function missing(sentence: string): HTMLElement {
  const parts = sentence.split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));
  return h("p", { class: "missing" }, ...parts);
}
