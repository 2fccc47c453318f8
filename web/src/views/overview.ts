// What a reader should see first: the claim, one picture, the funnel, the cost, what is missing.

import { buildFigure } from "../charts/figure";
import { h, said } from "../dom";
import type { Fact, Made, Report } from "../types";
import { buildSection, missing } from "./sections";

export function overview(report: Report): Node {
  const cost = (report.sections ?? []).filter((section) => section.view === "overview");
  return h(
    "section",
    { class: "report overview" },
    h("h1", {}, said(report.run)),
    h("p", { class: "claim" }, said(report.claim?.sentence ?? "")),
    h("ul", { class: "facts" }, ...(report.facts ?? []).map(buildFact)),
    h(
      "div",
      { class: "charts" },
      ...[report.picture, "funnel"].map((name) =>
        name && report.charts?.[name] ? buildFigure(name, report, 2) : null,
      ),
    ),
    ...missingPart(report.missing ?? []),
    ...cost.map((section) => buildSection(section, report)),
    madePart(report),
    ...figuresPart(report.figures ?? {}),
  );
}

function buildFact(fact: Fact): HTMLElement {
  const value = h("strong", {}, fact.value);
  return h(
    "li",
    {},
    fact.href ? h("a", { href: fact.href }, value) : value,
    h("span", {}, said(fact.label)),
    h("small", {}, said(fact.detail)),
  );
}

function missingPart(sentences: string[]): HTMLElement[] {
  if (sentences.length === 0) return [];
  return [h("section", { class: "part" }, h("h2", {}, "Missing"), ...sentences.map(missing))];
}

function madePart(report: Report): HTMLElement {
  const made: Made = report.made ?? { date: "", stages: "", command: "", commit: "", hardware: "" };
  const rows: [string, string][] = [
    ["Date of the last result", made.date],
    ["Finished stages", made.stages],
    ["Commands", made.command],
    ["Commit of AVRT", made.commit],
    ["Hardware", made.hardware],
    ["Version of AVRT that wrote this page", report.version],
  ];
  return h(
    "section",
    { class: "part" },
    h("h2", {}, "How it was made"),
    h(
      "dl",
      { class: "made" },
      ...rows.flatMap(([name, value]) => [
        h("dt", {}, name),
        h("dd", {}, value === "" ? h("span", { class: "soft" }, "not recorded") : said(value)),
      ]),
    ),
  );
}

function figuresPart(figures: Record<string, string>): HTMLElement[] {
  const names = Object.keys(figures);
  if (names.length === 0) return [];
  const links = names.map((name) => {
    const file = `figures/${encodeURIComponent(name)}`;
    return h(
      "li",
      {},
      said(figures[name] ?? name),
      " ",
      h("a", { href: `${file}.svg`, download: `${name}.svg` }, "SVG"),
      " ",
      h("a", { href: `${file}.pdf`, download: `${name}.pdf` }, "PDF"),
    );
  });
  return [
    h(
      "section",
      { class: "part" },
      h("h2", {}, "Figures for a paper"),
      h("ul", { class: "files" }, ...links),
    ),
  ];
}
