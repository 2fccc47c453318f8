// The filter panel: one group per column, with the number of items that each value would leave.

import { type Child, h, said } from "../dom";
import { formatCount } from "../format";
import {
  type Catalog,
  type Facet,
  richness,
  VERDICT_LABELS,
  VERDICTS,
  type VerdictColumn,
} from "./catalog";
import { countValues, countVerdicts, type Filter, numbersOf, type Selection } from "./filters";
import { columnLabel, modalityLabel, valueLabel } from "./labels";
import { sign } from "./verdict";

/** Values that a group shows before it is asked for all. */
const MAX_VALUES = 8;
/** Bars of a histogram. */
const BINS = 24;

export interface Panel {
  node: HTMLElement;
  update: (filter: Filter, selection: Selection) => void;
}

type Update = Panel["update"];
type Change = (change: (filter: Filter) => void) => void;
interface Group {
  node: HTMLDetailsElement;
  /** Called for open groups alone. */
  update: Update;
}

/** `change` gets a function that changes the filter, for every tick and range. */
export function buildPanel(catalog: Catalog, everything: Selection, change: Change): Panel {
  const groups: Group[] = [
    ...catalog.facets.flatMap((facet) => facetGroup(facet, everything, change) ?? []),
    ...modelGroups(catalog, everything, change),
    ...[...catalog.numbers].flatMap(
      ([name, column]) => numberGroup(name, column, everything, change) ?? [],
    ),
  ];
  let latest: [Filter, Selection] | null = null;
  for (const { node, update } of groups) {
    node.addEventListener("toggle", () => latest && update(...latest));
  }
  return {
    node: h("div", { class: "groups" }, ...groups.map((group) => group.node)),
    update: (filter, selection) => {
      latest = [filter, selection];
      for (const { node, update } of groups) if (node.open) update(filter, selection);
    },
  };
}

function group(title: string, isOpen: boolean, ...children: Child[]): HTMLDetailsElement {
  return h(
    "details",
    { class: "group", open: isOpen },
    h("summary", {}, h("span", { class: "group-title" }, title)),
    h("div", { class: "group-body", role: "group", "aria-label": title }, ...children),
  );
}

/** Nothing for a column in which every item has the same value. */
function facetGroup(facet: Facet, everything: Selection, change: Change): Group | null {
  const totals = countValues(everything, facet);
  const { values } = facet;
  const places = [...values.keys(), values.length].filter((place) => (totals[place] ?? 0) > 0);
  if (places.length < 2) return null;
  places.sort((a, b) => (totals[b] ?? 0) - (totals[a] ?? 0) || a - b);
  const toggle = (value: string, isOn: boolean): void =>
    change((filter) => toggleIn(filter.values, facet.name, value, isOn));
  const rows = places.map((place) => {
    const value = values[place] ?? "";
    const label = place === values.length ? "(none)" : valueLabel(facet.name, value);
    return { place, value, row: tickRow([said(label)], (isOn) => toggle(value, isOn)) };
  });
  const list = h("ul", {}, ...rows.slice(0, MAX_VALUES).map(({ row }) => row.node));
  const hidden = rows.slice(MAX_VALUES);
  const title = columnLabel(facet.name);
  const more = h("button", { type: "button", class: "plain" }, `Show all ${rows.length}`);
  const showAll = (): void => {
    list.append(...hidden.splice(0).map(({ row }) => row.node));
    more.remove();
  };
  more.addEventListener("click", showAll);
  return {
    node: group(
      title,
      facet.name !== "letter" && facet.name !== "media",
      list,
      hidden.length > 0 && more,
    ),
    update: (filter, selection) => {
      const counts = countValues(selection, facet);
      const ticked = filter.values.get(facet.name);
      const most = Math.max(1, ...counts);
      for (const { place, value, row } of rows) {
        row.update(counts[place] ?? 0, most, ticked?.has(value) ?? false);
      }
      if (hidden.some(({ value }) => ticked?.has(value))) showAll();
    },
  };
}

function modelGroups(catalog: Catalog, everything: Selection, change: Change): Group[] {
  const modalities = [...new Set(catalog.verdicts.map((column) => column.modality))];
  return modalities
    .sort((a, b) => richness(b) - richness(a))
    .map((modality, number) => {
      const columns = catalog.verdicts.filter((column) => column.modality === modality);
      const models = columns.map((column) => modelRows(column, everything, change));
      return {
        node: group(
          `Answers with ${modalityLabel(modality)}`,
          number === 0,
          ...models.map((model) => model.node),
        ),
        update: (filter, selection) => {
          for (const model of models) model.update(filter, selection);
        },
      };
    });
}

function modelRows(column: VerdictColumn, everything: Selection, change: Change): Panel {
  const totals = countVerdicts(everything, column.key, column.codes);
  const rows = VERDICTS.filter((_, code) => (totals[code] ?? 0) > 0).map((verdict) => ({
    verdict,
    row: tickRow([sign(verdict), ` ${VERDICT_LABELS[verdict]}`], (isOn) =>
      change((filter) => toggleIn(filter.verdicts, column.key, verdict, isOn)),
    ),
  }));
  const list = h("ul", { "aria-label": column.model }, ...rows.map(({ row }) => row.node));
  return {
    node: h("div", { class: "model" }, h("p", { class: "model-name" }, said(column.model)), list),
    update: (filter, selection) => {
      const counts = countVerdicts(selection, column.key, column.codes);
      const ticked = filter.verdicts.get(column.key);
      const most = Math.max(1, ...counts);
      for (const { verdict, row } of rows) {
        row.update(counts[VERDICTS.indexOf(verdict)] ?? 0, most, ticked?.has(verdict) ?? false);
      }
    },
  };
}

interface TickRow {
  node: HTMLElement;
  update: (count: number, most: number, isTicked: boolean) => void;
}

function tickRow(label: Child[], toggle: (isOn: boolean) => void): TickRow {
  const box = h("input", { type: "checkbox", change: () => toggle(box.checked) });
  const count = h("span", { class: "count" });
  const bar = h("span", { class: "bar-fill", "aria-hidden": "true" });
  const node = h(
    "li",
    { class: "tick" },
    h("label", {}, box, h("span", { class: "tick-label" }, ...label), count),
    bar,
  );
  return {
    node,
    update: (n, most, isTicked) => {
      box.checked = isTicked;
      count.textContent = formatCount(n);
      bar.style.width = `${(100 * n) / most}%`;
      node.classList.toggle("empty", n === 0 && !isTicked);
    },
  };
}

function numberGroup(
  name: string,
  column: Float64Array,
  everything: Selection,
  change: Change,
): Group | null {
  const [least, most] = extent(numbersOf(everything, name, column));
  if (least >= most) return null;
  const title = columnLabel(name);
  const input = (side: 0 | 1): HTMLInputElement => {
    const label = side === 0 ? `${title}, at least` : `${title}, at most`;
    const placeholder = String(side === 0 ? least : most);
    const field = h("input", { type: "number", step: "any", "aria-label": label, placeholder });
    field.addEventListener("change", () =>
      change((filter) => setRange(filter, name, side, field.value)),
    );
    return field;
  };
  const fields = [input(0), input(1)] as const;
  const bars = Array.from({ length: BINS }, () => h("span", {}));
  return {
    node: group(
      title,
      false,
      h("div", { class: "histogram", "aria-hidden": "true" }, ...bars),
      h("div", { class: "range" }, fields[0], h("span", {}, "to"), fields[1]),
    ),
    update: (filter, selection) => {
      const range = filter.ranges.get(name) ?? [-Infinity, Infinity];
      fields.forEach((field, side) => {
        const bound = range[side] ?? 0;
        field.value = Number.isFinite(bound) ? String(bound) : "";
      });
      drawHistogram(bars, numbersOf(selection, name, column), least, most);
    },
  };
}

function drawHistogram(
  bars: HTMLElement[],
  values: Float64Array,
  least: number,
  most: number,
): void {
  const counts = new Array<number>(bars.length).fill(0);
  const step = (most - least) / bars.length || 1;
  for (const value of values) {
    const bin = Math.min(bars.length - 1, Math.max(0, Math.floor((value - least) / step)));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  const highest = Math.max(1, ...counts);
  bars.forEach((bar, bin) => {
    bar.style.height = `${(100 * (counts[bin] ?? 0)) / highest}%`;
  });
}

function extent(values: Float64Array): [number, number] {
  let least = Infinity;
  let most = -Infinity;
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return [least, most];
}

function setRange(filter: Filter, name: string, side: 0 | 1, text: string): void {
  const range: [number, number] = [...(filter.ranges.get(name) ?? [-Infinity, Infinity])];
  const none = side === 0 ? -Infinity : Infinity;
  range[side] = text === "" || Number.isNaN(Number(text)) ? none : Number(text);
  if (range.some(Number.isFinite)) filter.ranges.set(name, range);
  else filter.ranges.delete(name);
}

function toggleIn<V>(map: Map<string, Set<V>>, key: string, value: V, isOn: boolean): void {
  const values = new Set(map.get(key));
  if (isOn) values.add(value);
  else values.delete(value);
  if (values.size > 0) map.set(key, values);
  else map.delete(key);
}
