// The shapes of data/index.js (all items, by column) and data/items-NNNN.js (200 items each).

import type { Template } from "../types";

/** Strings of a column, written once; `codes[i]` is the place in `values`, -1 for none. */
export interface Coded {
  values: string[];
  codes: ArrayLike<number>;
}

/** As Coded, but an item may have several values. */
export interface CodedSets {
  values: string[];
  codes: number[][];
}

/** What one model answered on one benchmark; VERDICTS in catalog.ts names the codes. */
export interface ModelColumn {
  benchmark: string;
  model: string;
  modality: string;
  /** The item of `codes[0]`; by default 0. */
  first?: number;
  codes: ArrayLike<number>;
  /** One character per code, a blank for none. */
  letters?: string;
}

export interface Index {
  n: number;
  chunk: number;
  coded: Record<string, Coded>;
  texts: { id: string[]; question: string[]; strip?: string[] };
  numbers: Record<string, (number | null)[]>;
  sets: Record<string, CodedSets>;
  models: ModelColumn[];
  media: number[];
}

export interface Media {
  strip?: string | null;
  /** In the strip, and how many the models got. */
  n_frames?: number;
  given_frames?: number;
  still?: boolean;
  times_s?: number[];
  frame?: [number, number];
  sound?: string | null;
  seconds?: number;
  /** Of the whole file, of which the models got `seconds`. */
  source_seconds?: number | null;
  spectrogram?: string | null;
  peaks?: number[];
  clip?: string | null;
  missing?: Record<string, string>;
}

export type Modality = "vision" | "audio";

/** Where a text comes from. */
export interface Source {
  model: string | null;
  prompt: string | null;
  /** Read and written. */
  tokens: [number | null, number | null] | null;
  /** Of the call in the ledger. */
  key: string | null;
  latency_s?: number;
  /** The prompt's template, or its number among those of the report. */
  asked?: number | Template;
  /** The places of the item's options as the model saw them, where that is another order. */
  order?: number[];
  /** It ended at the longest length that was allowed. */
  cut?: boolean;
}

export interface Trace extends Source {
  role: string;
  modality: string;
  k: number;
  text: string;
  answer: string | null;
  right: boolean | null;
  status: string;
}

/** Which part of the merged trace came from which teacher, in UTF-16 units of its text. */
export type Mark = [start: number, end: number, from: Modality | "both"];

export interface Merged extends Source {
  text: string;
  status: string;
  marks: Mark[];
  /** What a gate objected to. */
  gate_marks: [start: number, end: number, gate: string][];
}

export interface Finding {
  judge: string;
  finding: string;
  quote: string | null;
  /** The quote's place in the merged trace. */
  at: [start: number, end: number] | null;
}

export interface Answer extends Source {
  benchmark: string;
  modality: string;
  model: string;
  k: number;
  text: string;
  answer: string | null;
  verdict: string;
  right: boolean | null;
}

export interface Item {
  id: string;
  origin: string;
  question: string;
  options: string[];
  target: string | null;
  type: string | null;
  relation: string | null;
  outcome: string | null;
  reason: string | null;
  stratum: string | null;
  /** File and row of the data set. */
  source?: string | null;
  media: Media | null;
  traces: Trace[];
  merged: Merged | null;
  /** What each gate that objected says. */
  gates: Record<string, string>;
  findings: Finding[];
  answers: Answer[];
}
