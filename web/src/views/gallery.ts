// Examples for a paper's figure: what the base answered wrong and the final model right, the reverse,
// and how a training example came about. Chosen in turns from all question types, never by a text.

import { type Child, h, replaceChildren, said } from "../dom";
import { formatCount } from "../format";
import { answerBox, baseOf } from "../items/answers";
import { type Catalog, codedValue, VERDICTS, type VerdictColumn } from "../items/catalog";
import { picturesFirst } from "../items/filters";
import { modalityLabel } from "../items/labels";
import { optionList } from "../items/options";
import { openSession, type Session } from "../items/session";
import { legend, traceBoxes } from "../items/traces";
import type { Item } from "../items/types";
import { noteAddress, toHash } from "../router";
import { loadItem } from "../store";
import type { Report } from "../types";
import { loading } from "./loading";

const SIZES = ["2", "4", "8", "16"];

interface Choice {
  base: string;
  final: string;
  modality: string;
  /** Examples of each kind. */
  size: string;
}

export function gallery(_report: Report, params: URLSearchParams): Node {
  return loading("Gallery", openSession(), (session) => build(session, params));
}

function build(session: Session, params: URLSearchParams): Node {
  const { catalog } = session;
  const choice = readChoice(catalog, params);
  const figures = h("div", {});
  const refresh = (): void => {
    replaceChildren(
      figures,
      ...groupsOf(catalog, choice).map((group) => groupNode(catalog, group)),
    );
  };
  const change = (name: keyof Choice, value: string): void => {
    choice[name] = value;
    noteAddress(toHash("gallery", new URLSearchParams({ ...choice })), true);
    refresh();
  };
  refresh();
  return h(
    "section",
    { class: "gallery" },
    h("h1", {}, "Gallery"),
    h(
      "p",
      { class: "soft" },
      "Chosen in turns from all question types, those with pictures first, in the order of the data: " +
        "nobody picked them.",
    ),
    controls(catalog, choice, change),
    figures,
  );
}

function readChoice(catalog: Catalog, params: URLSearchParams): Choice {
  const models = [...new Set(catalog.verdicts.map(({ model }) => model))];
  const modalities = [...new Set(catalog.verdicts.map(({ modality }) => modality))];
  const wanted = (name: string, known: string[], fallback: string | undefined): string => {
    const value = params.get(name) ?? "";
    return known.includes(value) ? value : (fallback ?? "");
  };
  return {
    base: wanted("base", models, models[0]),
    final: wanted("final", models, models.at(-1)),
    modality: wanted("modality", modalities, modalities.includes("av") ? "av" : modalities.at(-1)),
    size: wanted("size", SIZES, "4"),
  };
}

function controls(
  catalog: Catalog,
  choice: Choice,
  change: (name: keyof Choice, value: string) => void,
): Child {
  const models = [...new Set(catalog.verdicts.map(({ model }) => model))];
  const modalities = [...new Set(catalog.verdicts.map(({ modality }) => modality))];
  const select = (name: keyof Choice, label: string, values: string[]): Child => {
    const field = h(
      "select",
      {},
      ...values.map((value) =>
        h("option", { value }, name === "modality" ? modalityLabel(value) : value),
      ),
    );
    field.value = choice[name];
    field.addEventListener("change", () => change(name, field.value));
    return values.length > 1 && h("label", {}, `${label} `, field);
  };
  return h(
    "div",
    { class: "controls" },
    select("base", "Base", models),
    select("final", "Compared with", models),
    select("modality", "Input", modalities),
    select("size", "Examples of each kind", SIZES),
    h("button", { type: "button", click: () => window.print() }, "Print"),
  );
}

interface Group {
  title: string;
  /** What the grid has to be asked for to show all of these items. */
  params: URLSearchParams;
  n: number;
  places: number[];
  figure: (item: Item) => Child;
}

function groupsOf(catalog: Catalog, choice: Choice): Group[] {
  const { base, final, modality } = choice;
  const size = Number(choice.size);
  const column = (model: string): VerdictColumn | undefined =>
    catalog.verdicts.find((candidate) => candidate.key === `${model}:${modality}`);
  const [first, last] = [column(base), column(final)];
  const compared =
    first === undefined || last === undefined || first === last
      ? []
      : [changed(catalog, first, last, size), changed(catalog, last, first, size)];
  return [...compared, ...tracesGroup(catalog, size)];
}

/** Items that `before` did not answer right and `after` did. */
function changed(
  catalog: Catalog,
  before: VerdictColumn,
  after: VerdictColumn,
  size: number,
): Group {
  const places: number[] = [];
  for (let i = 0; i < catalog.n; i++) {
    const verdict = VERDICTS[before.codes[i] ?? -1];
    if (after.codes[i] === 0 && (verdict === "wrong" || verdict === "no_answer")) places.push(i);
  }
  const params = new URLSearchParams({
    wrong: before.key,
    no_answer: before.key,
    right: after.key,
  });
  const models = [before.model, after.model];
  return {
    title: `${before.model} wrong, ${after.model} right`,
    params,
    n: places.length,
    places: inTurns(catalog, places).slice(0, size),
    figure: (item) => {
      const answers = item.answers.filter(
        ({ modality, model }) => modality === before.modality && models.includes(model),
      );
      return h(
        "div",
        { class: "texts" },
        ...answers.map((answer) =>
          answerBox(answer, baseOf(answer, answers, answers[0]?.model ?? "")),
        ),
      );
    },
  };
}

/** Training examples, or, where there are none, traces that were rejected. */
function tracesGroup(catalog: Catalog, size: number): Group[] {
  const outcomes = catalog.facets.find(({ name }) => name === "outcome");
  const shown = ["train", "gate", "judge", "view", "merge", "trace"].find((outcome) =>
    outcomes?.values.includes(outcome),
  );
  if (shown === undefined) return [];
  const code = outcomes?.values.indexOf(shown);
  const places: number[] = [];
  outcomes?.codes?.forEach((value, place) => {
    if (value === code) places.push(place);
  });
  return [
    {
      title:
        shown === "train"
          ? "How training examples came about"
          : "Traces that were rejected: there is no training example",
      params: new URLSearchParams({ outcome: shown }),
      n: places.length,
      places: inTurns(catalog, places).slice(0, size),
      figure: (item) => h("div", {}, item.merged && legend(item), traceBoxes(item, null)),
    },
  ];
}

/** One item of every question type, then the next of every type; those with pictures first. */
function inTurns(catalog: Catalog, places: number[]): number[] {
  const turns = new Map<string, number>();
  const ranked = [...picturesFirst(catalog, Int32Array.from(places))].map((place) => {
    const type = codedValue(catalog, "type", place) ?? "";
    const turn = turns.get(type) ?? 0;
    turns.set(type, turn + 1);
    return { place, turn };
  });
  return ranked.sort((a, b) => a.turn - b.turn).map(({ place }) => place);
}

function groupNode(catalog: Catalog, group: Group): HTMLElement {
  const n = formatCount(group.n);
  const figures = group.places.map((place) => {
    const figure = h("figure", { class: "example" }, h("p", { class: "soft" }, "Loading …"));
    loadItem(catalog.index, place).then(
      (item) => replaceChildren(figure, ...example(item, place, group)),
      (error: Error) => replaceChildren(figure, h("p", { class: "missing" }, error.message)),
    );
    return figure;
  });
  return h(
    "section",
    { class: "examples" },
    h(
      "h2",
      {},
      said(group.title),
      " ",
      h(
        "a",
        { class: "all", href: toHash("items", group.params) },
        group.n === 1 ? "1 item" : `all ${n} items`,
      ),
    ),
    group.n === 0 && h("p", { class: "missing" }, "No such item."),
    ...figures,
  );
}

function example(item: Item, place: number, group: Group): Child[] {
  const { media } = item;
  return [
    media?.strip &&
      h("img", {
        class: (media.n_frames ?? 1) > 1 ? "strip" : "strip still",
        src: media.strip,
        alt: `${media.n_frames ?? 1} frames of the clip in order`,
      }),
    h(
      "figcaption",
      {},
      h(
        "h3",
        {},
        h(
          "a",
          { href: toHash("item", group.params, String(place)) },
          said(item.question.trim() || "(no question)"),
        ),
      ),
      optionList(item),
    ),
    group.figure(item),
  ];
}
