// Which items a filter keeps, and how many of each value there are. Pure, over the catalog.
//
// Every condition marks the items that fail it; an item is kept when it fails none. A facet's counts
// take in the items that fail nothing but that facet's own condition: so a ticked value does not
// make its neighbours 0, and an empty result can say which condition to take away.

import { type Catalog, FACETS, type Facet, NUMBERS, VERDICTS, type Verdict } from "./catalog";

export interface Filter {
  /** By facet or "id", the values of which one must be there; "" stands for none. */
  values: Map<string, Set<string>>;
  /** By number, the least and the largest. */
  ranges: Map<string, [number, number]>;
  /** By "MODEL:MODALITY", the verdicts of which one must be there. */
  verdicts: Map<string, Set<Verdict>>;
  /** By "MODEL:MODALITY", the letters of which one was answered. */
  answered: Map<string, Set<string>>;
  text: string;
  /** Search in all texts, not in ids and questions alone. */
  inTexts: boolean;
  /** A column's name, after a "-" for falling order; FILE_ORDER; "" for items with pictures first. */
  sort: string;
}

export const FILE_ORDER = "files";

export interface Condition {
  /** What `withoutCondition` takes away. */
  key: string;
  fails: Uint8Array;
}

export interface Selection {
  /** The kept items, sorted, and in their own order. */
  places: Int32Array;
  kept: Int32Array;
  conditions: Condition[];
  /** Of every item, how many conditions it fails, and the last of them. */
  nFailed: Uint8Array;
  lastFailed: Uint8Array;
}

export function readFilter(params: URLSearchParams, catalog: Catalog): Filter {
  const filter: Filter = {
    values: new Map(),
    ranges: new Map(),
    verdicts: new Map(),
    answered: new Map(),
    text: params.get("q") ?? "",
    inTexts: params.get("in") === "texts",
    sort: isSort(catalog, params.get("sort") ?? "") ? (params.get("sort") ?? "") : "",
  };
  for (const name of valueKeys(catalog)) {
    const values = params.getAll(name);
    if (values.length > 0) filter.values.set(name, new Set(values));
  }
  for (const name of numberKeys(catalog)) {
    const range = readRange(params.get(name));
    if (range !== null) filter.ranges.set(name, range);
  }
  for (const verdict of VERDICTS) {
    for (const key of params.getAll(verdict)) addTo(filter.verdicts, key, verdict);
  }
  for (const entry of params.getAll("answered")) {
    const end = entry.lastIndexOf(":");
    if (end > 0) addTo(filter.answered, entry.slice(0, end), entry.slice(end + 1));
  }
  return filter;
}

/** What of the address no filter comes from, as "KEY=VALUE". */
export function unknownParts(params: URLSearchParams, catalog: Catalog): string[] {
  const isAny = (): boolean => true;
  const checks = new Map<string, (value: string) => boolean>([
    ...[...valueKeys(catalog), ...VERDICTS, "q"].map((name) => [name, isAny] as const),
    ...[...numberKeys(catalog)].map(
      (name) => [name, (value: string) => readRange(value) !== null] as const,
    ),
    ["answered", (value) => value.lastIndexOf(":") > 0],
    ["in", (value) => value === "texts"],
    ["sort", (value) => isSort(catalog, value)],
    ["view", (value) => value === "grid" || value === "list"],
    ["page", (value) => /^[1-9]\d*$/.test(value)],
  ]);
  const parts = [...params].filter(([name, value]) => !checks.get(name)?.(value));
  return [...new Set(parts.map(([name, value]) => `${name}=${value}`))];
}

function valueKeys(catalog: Catalog): Set<string> {
  return new Set([...FACETS, ...catalog.facets.map(({ name }) => name), "id"]);
}

function numberKeys(catalog: Catalog): Set<string> {
  return new Set([...NUMBERS, ...catalog.numbers.keys()]);
}

function isSort(catalog: Catalog, sort: string): boolean {
  return sort === "" || sort === FILE_ORDER || comparison(catalog, sort.replace(/^-/, "")) !== null;
}

export function writeFilter(filter: Filter): URLSearchParams {
  const params = new URLSearchParams();
  for (const [name, values] of filter.values) {
    for (const value of values) params.append(name, value);
  }
  for (const [name, [least, most]] of filter.ranges) {
    params.set(
      name,
      `${Number.isFinite(least) ? least : ""}..${Number.isFinite(most) ? most : ""}`,
    );
  }
  for (const [key, verdicts] of filter.verdicts) {
    for (const verdict of verdicts) params.append(verdict, key);
  }
  for (const [key, letters] of filter.answered) {
    for (const letter of letters) params.append("answered", `${key}:${letter}`);
  }
  if (filter.text !== "") params.set("q", filter.text);
  if (filter.inTexts) params.set("in", "texts");
  if (filter.sort !== "") params.set("sort", filter.sort);
  return params;
}

/** Keeps what it computed for conditions that the next filter has too. */
export class Selector {
  private known = new Map<string, Condition>();
  private lowered: string[] | null = null;

  constructor(private readonly catalog: Catalog) {}

  /** `found`: 1 for every item in whose texts `filter.text` was found so far. */
  select(filter: Filter, found: Uint8Array | null = null): Selection {
    const conditions = this.conditionsOf(filter, found);
    const { n } = this.catalog;
    const nFailed = new Uint8Array(n);
    const lastFailed = new Uint8Array(n);
    conditions.forEach(({ fails }, number) => {
      for (let i = 0; i < n; i++) {
        if (fails[i] === 1) {
          nFailed[i] = (nFailed[i] ?? 0) + 1;
          lastFailed[i] = number;
        }
      }
    });
    const all = new Int32Array(n);
    let size = 0;
    for (let i = 0; i < n; i++) if (nFailed[i] === 0) all[size++] = i;
    const kept = all.subarray(0, size);
    const places = sortPlaces(this.catalog, kept, filter.sort);
    return { places, kept, conditions, nFailed, lastFailed };
  }

  private conditionsOf(filter: Filter, found: Uint8Array | null): Condition[] {
    const { numbers, verdicts } = this.catalog;
    const next = new Map<string, Condition>();
    const add = (key: string, detail: string, passes: (place: number) => boolean): void => {
      const name = `${key}\n${detail}`;
      next.set(name, this.known.get(name) ?? { key, fails: failing(this.catalog.n, passes) });
    };
    for (const [name, wanted] of filter.values) {
      if (wanted.size > 0) add(name, [...wanted].join("\n"), hasValue(this.catalog, name, wanted));
    }
    for (const [name, [least, most]] of filter.ranges) {
      const column = numbers.get(name);
      const isInside = (i: number): boolean => {
        const value = column?.[i] ?? Number.NaN;
        return value >= least && value <= most;
      };
      add(name, `${least}..${most}`, isInside);
    }
    for (const [key, wanted] of filter.verdicts) {
      const codes = verdicts.find((column) => column.key === key)?.codes;
      const allowed = VERDICTS.map((verdict) => wanted.has(verdict));
      add(`verdict ${key}`, [...wanted].join(), (i) => allowed[codes?.[i] ?? -1] ?? false);
    }
    for (const [key, wanted] of filter.answered) {
      const letters = verdicts.find((column) => column.key === key)?.letters;
      const allowed = new Set([...wanted].map((letter) => letter.charCodeAt(0)));
      add(`answered ${key}`, [...wanted].join(), (i) => allowed.has(letters?.[i] ?? 0));
    }
    this.known = new Map(next);
    const words = wordsOf(filter.text);
    if (words.length > 0) {
      const isHere = this.hasWords(words);
      const passes = found === null ? isHere : (i: number) => found[i] === 1 || isHere(i);
      add("q", `${words.join(" ")}${found === null ? "" : "\n"}`, passes);
      if (found === null) this.known = new Map(next); // what was found in texts grows: not kept
    }
    return [...next.values()];
  }

  private hasWords(words: string[]): (place: number) => boolean {
    const { id, question } = this.catalog.index.texts;
    this.lowered ??= id.map((text, i) => `${text}\n${question[i] ?? ""}`.toLowerCase());
    const texts = this.lowered;
    return (place) => words.every((word) => texts[place]?.includes(word) ?? false);
  }
}

/** How many items have each value of a facet, its own condition left aside; last: those without. */
export function countValues(selection: Selection, facet: Facet): Int32Array {
  const counts = new Int32Array(facet.values.length + 1);
  const none = facet.values.length;
  const { codes, sets } = facet;
  for (const i of countedPlaces(selection, facet.name)) {
    const code = codes?.[i] ?? -1;
    const members = sets?.[i] ?? [];
    if (codes !== null) bump(counts, code < 0 ? none : code);
    else if (members.length === 0) bump(counts, none);
    else for (const member of members) bump(counts, member);
  }
  return counts;
}

/** How many items have each verdict of VERDICTS, the column's own condition left aside. */
export function countVerdicts(selection: Selection, key: string, codes: Int8Array): Int32Array {
  const counts = new Int32Array(VERDICTS.length);
  for (const i of countedPlaces(selection, `verdict ${key}`)) {
    const code = codes[i] ?? -1;
    if (code >= 0) bump(counts, code);
  }
  return counts;
}

/** The values of a number, its own range left aside. */
export function numbersOf(selection: Selection, name: string, column: Float64Array): Float64Array {
  const values = new Float64Array(column.length);
  let size = 0;
  for (const i of countedPlaces(selection, name)) {
    const value = column[i] ?? Number.NaN;
    if (!Number.isNaN(value)) values[size++] = value;
  }
  return values.subarray(0, size);
}

/** For every condition, how many items there would be without it. */
export function countWithout(selection: Selection): Map<string, number> {
  const { conditions, nFailed, lastFailed, places } = selection;
  const counts = new Map(conditions.map(({ key }) => [key, places.length] as [string, number]));
  for (let i = 0; i < nFailed.length; i++) {
    if (nFailed[i] !== 1) continue;
    const key = conditions[lastFailed[i] ?? 0]?.key ?? "";
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

export function withoutCondition(filter: Filter, key: string): Filter {
  const without = <V>(map: Map<string, V>, name: string): Map<string, V> => {
    const copy = new Map(map);
    copy.delete(name);
    return copy;
  };
  if (key === "q") return { ...filter, text: "", inTexts: false };
  return {
    ...filter,
    values: without(filter.values, key),
    ranges: without(filter.ranges, key),
    verdicts: without(filter.verdicts, key.replace(/^verdict /, "")),
    answered: without(filter.answered, key.replace(/^answered /, "")),
  };
}

export function wordsOf(text: string): string[] {
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

function failing(n: number, passes: (place: number) => boolean): Uint8Array {
  const fails = new Uint8Array(n);
  for (let i = 0; i < n; i++) if (!passes(i)) fails[i] = 1;
  return fails;
}

function hasValue(catalog: Catalog, name: string, wanted: Set<string>): (place: number) => boolean {
  const { id } = catalog.index.texts;
  if (name === "id") return (i) => wanted.has(id[i] ?? "");
  const none = wanted.has("");
  const facet = catalog.facets.find((candidate) => candidate.name === name);
  if (facet === undefined) return () => none; // this run has no such column
  const allowed = facet.values.map((value) => wanted.has(value));
  const { codes, sets } = facet;
  if (codes !== null) return (i) => allowed[codes[i] ?? -1] ?? none;
  return (i) => {
    const members = sets?.[i] ?? [];
    return members.length === 0 ? none : members.some((code) => allowed[code]);
  };
}

/** The kept items, and those that fail nothing but the condition `key`. */
function countedPlaces(
  { conditions, kept, nFailed, lastFailed }: Selection,
  key: string,
): Int32Array {
  const own = conditions.findIndex((condition) => condition.key === key);
  if (own < 0) return kept;
  const places = new Int32Array(nFailed.length);
  let size = 0;
  for (let i = 0; i < nFailed.length; i++) {
    if (nFailed[i] === 0 || (nFailed[i] === 1 && lastFailed[i] === own)) places[size++] = i;
  }
  return places.subarray(0, size);
}

function sortPlaces(catalog: Catalog, places: Int32Array, sort: string): Int32Array {
  if (sort === "") return picturesFirst(catalog, places);
  const compare = comparison(catalog, sort.replace(/^-/, ""));
  if (compare === null) return places;
  const sign = sort.startsWith("-") ? -1 : 1;
  return places.slice().sort((a, b) => compare(a, b, sign) || a - b);
}

/** Items with frames, then those with sound alone, then the rest; each in the order of the files. */
export function picturesFirst({ index }: Catalog, places: Int32Array): Int32Array {
  const { strip } = index.texts;
  const ranks = [0, 1, 2].map((rank) =>
    places.filter((i) => {
      const hasFrames = strip === undefined ? index.media[i] === 1 : strip[i] !== "";
      return rank === (hasFrames ? 0 : index.media[i] === 1 ? 1 : 2);
    }),
  );
  const sorted = new Int32Array(places.length);
  let start = 0;
  for (const part of ranks) {
    sorted.set(part, start);
    start += part.length;
  }
  return sorted;
}

type Compare = (a: number, b: number, sign: number) => number;

/** Items without a value come last, whichever the order. */
function comparison(catalog: Catalog, name: string): Compare | null {
  const texts = name === "id" || name === "question" ? catalog.index.texts[name] : undefined;
  if (texts !== undefined) {
    return (a, b, sign) => sign * compareTexts(texts[a] ?? "", texts[b] ?? "");
  }
  const codes = catalog.facets.find((facet) => facet.name === name)?.codes;
  const column = catalog.numbers.get(name) ?? (codes && ranks(catalog, name, codes));
  if (!column) return null;
  return (a, b, sign) => {
    const left = column[a] ?? Number.NaN;
    const right = column[b] ?? Number.NaN;
    if (Number.isNaN(left) || Number.isNaN(right))
      return +Number.isNaN(left) - +Number.isNaN(right);
    return sign * (left - right);
  };
}

function ranks(catalog: Catalog, name: string, codes: Int32Array): Float64Array {
  const values = catalog.facets.find((facet) => facet.name === name)?.values ?? [];
  const order = values.map((_, code) => code);
  order.sort((a, b) => compareTexts(values[a] ?? "", values[b] ?? ""));
  const rank = new Float64Array(values.length);
  order.forEach((code, place) => {
    rank[code] = place;
  });
  return Float64Array.from(codes, (code) => rank[code] ?? Number.NaN);
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function readRange(text: string | null): [number, number] | null {
  const match = /^(-?[\d.]*)\.\.(-?[\d.]*)$/.exec(text ?? "") ?? null;
  const exact = text !== null && text !== "" && Number.isFinite(Number(text)) ? Number(text) : null;
  if (exact !== null) return [exact, exact];
  if (match === null) return null;
  const least = match[1] ? Number(match[1]) : -Infinity;
  const most = match[2] ? Number(match[2]) : Infinity;
  return Number.isNaN(least) || Number.isNaN(most) ? null : [least, most];
}

function addTo<V>(map: Map<string, Set<V>>, key: string, value: V): void {
  const known = map.get(key);
  if (known) known.add(value);
  else map.set(key, new Set([value]));
}

function bump(counts: Int32Array, place: number): void {
  counts[place] = (counts[place] ?? 0) + 1;
}
