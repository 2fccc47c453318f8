// The index made ready for filters: typed arrays, one column of verdicts per model and modality.

import type { Index, ModelColumn } from "./types";

export const VERDICTS = ["right", "wrong", "no_answer", "failed", "no_media"] as const;
export type Verdict = (typeof VERDICTS)[number];

export const VERDICT_LABELS: Record<Verdict, string> = {
  right: "right",
  wrong: "wrong",
  no_answer: "no answer",
  failed: "failed",
  no_media: "no media",
};

/** A column with few values. An item has one of them, or, in a set, any number. */
export interface Facet {
  name: string;
  values: string[];
  codes: Int32Array | null;
  sets: number[][] | null;
}

export interface VerdictColumn {
  /** "MODEL:MODALITY", as in the address. */
  key: string;
  model: string;
  modality: string;
  /** Places in VERDICTS; -1: not asked. */
  codes: Int8Array;
  /** Character codes of the answered letters; 0: none. */
  letters: Uint8Array;
}

export interface Catalog {
  n: number;
  index: Index;
  facets: Facet[];
  numbers: Map<string, Float64Array>;
  verdicts: VerdictColumn[];
}

/** In the order of the filters; others follow. A run need not have them all. */
export const FACETS = [
  ...["origin", "outcome", "reason", "gates", "stratum", "right_model", "trace_model"],
  ...["type", "relation", "letter", "finding"],
];
export const NUMBERS = ["think_words", "duration_s", "n_options"];

export function toCatalog(index: Index): Catalog {
  const given = [...Object.keys(index.coded), ...Object.keys(index.sets)];
  const names = new Set([...FACETS.filter((name) => given.includes(name)), ...given]);
  const facets = [...names].map((name): Facet => {
    const [column, set] = [index.coded[name], index.sets[name]];
    const values = column?.values ?? set?.values ?? [];
    return {
      name,
      values,
      codes: column ? new Int32Array(column.codes) : null,
      sets: set?.codes ?? null,
    };
  });
  const hasMedia = new Int32Array(index.media);
  facets.push({ name: "media", values: ["missing", "there"], codes: hasMedia, sets: null });
  const numbers = Object.entries(index.numbers).map(
    ([name, column]) => [name, toFloats(column)] as const,
  );
  return {
    n: index.n,
    index,
    facets: facets.filter((facet) => facet.values.length > 0),
    numbers: new Map(numbers),
    verdicts: verdictColumns(index.n, index.models),
  };
}

/** NaN where there is none. */
function toFloats(column: (number | null)[]): Float64Array {
  const floats = new Float64Array(column.length);
  for (let i = 0; i < column.length; i++) floats[i] = column[i] ?? Number.NaN;
  return floats;
}

/** Benchmarks have different items: a model's columns of one modality become one column. */
function verdictColumns(n: number, models: ModelColumn[]): VerdictColumn[] {
  const columns = new Map<string, VerdictColumn>();
  for (const { model, modality, codes, letters, first = 0 } of models) {
    const key = `${model}:${modality}`;
    let column = columns.get(key);
    if (column === undefined) {
      const unasked = new Int8Array(n).fill(-1);
      column = { key, model, modality, codes: unasked, letters: new Uint8Array(n) };
      columns.set(key, column);
    }
    for (let i = 0; i < codes.length; i++) {
      const code = codes[i] ?? -1;
      if (code < 0) continue;
      column.codes[first + i] = code;
      const letter = letters?.[i] ?? "";
      if (letter.trim() !== "") column.letters[first + i] = letter.charCodeAt(0);
    }
  }
  return [...columns.values()];
}

/** The verdicts on an item's richest input, one per model that was asked. */
export function verdictsOf(catalog: Catalog, place: number): VerdictColumn[] {
  const shown = new Map<string, VerdictColumn>();
  for (const column of catalog.verdicts) {
    if ((column.codes[place] ?? -1) < 0) continue;
    const known = shown.get(column.model);
    if (known === undefined || richness(column.modality) >= richness(known.modality))
      shown.set(column.model, column);
  }
  return [...shown.values()];
}

/** The more an input holds, the larger. */
export function richness(modality: string): number {
  return ["none", "a", "v", "av"].indexOf(modality);
}

export function codedValue(catalog: Catalog, name: string, place: number): string | null {
  const facet = catalog.facets.find((candidate) => candidate.name === name);
  const code = facet?.codes?.[place] ?? -1;
  return code < 0 ? null : (facet?.values[code] ?? null);
}
