// The shape of data/report.js: what every view but the items needs. Written by avrt.report.content.

/** A value of a table; `details` stand below it, `href` leads to its items. */
export interface Cell {
  text: string;
  details?: string[];
  strong?: boolean;
  href?: string;
  /** What stands beside the value, such as "best". */
  mark?: string;
  value?: number;
  interval?: [number, number];
  n?: number;
}

export interface Table {
  caption: string;
  header: string[];
  rows: (string | Cell)[][];
  notes: string[];
  /** How many columns from the left hold words. */
  text_columns: number;
}

export interface Fact {
  value: string;
  label: string;
  detail: string;
  href?: string;
}

interface ChartBase {
  title: string;
  /** The table with the same numbers: the chart in words. */
  table?: string;
  note?: string;
}

export interface Series {
  name: string;
  /** Name of a colour: see charts.css. */
  colour: string;
}

/** A number with its interval, in a row `y`. */
export interface Dot {
  y: string;
  series: string;
  /** Where the mark is; what it says is `text`, as in the table. */
  value: number;
  text: string;
  /** Ends of the 95 % interval, and the interval in words; none of a description. */
  low?: number;
  high?: number;
  interval?: string;
  n: number;
  /** Count behind a share. */
  k?: number;
  href?: string;
  mark?: string;
}

export interface Dots extends ChartBase {
  kind: "dots";
  x: string;
  domain?: [number, number];
  series: Series[];
  rows: Dot[];
  line?: { value: number; name: string };
}

export interface Bars extends ChartBase {
  kind: "bars";
  x: string;
  stack?: boolean;
  series: Series[];
  rows: Dot[];
}

/** Step, value, and the ends of the interval where there is one. */
export type Point = [step: number, value: number, low?: number, high?: number];

export interface Line {
  name: string;
  colour: string;
  points: Point[];
  smooth?: Point[];
  marks?: boolean;
}

export interface Lines extends ChartBase {
  kind: "lines";
  x: string;
  y?: string;
  domain?: [number, number];
  lines: Line[];
  line?: { value: number; name: string };
  small?: boolean;
}

export interface MatrixCell {
  x: string;
  y: string;
  n: number;
  /** Share in per cent, for the shade; what the cell says is `text`. */
  value: number;
  text: string;
  interval?: string;
  href?: string;
}

export interface Matrix extends ChartBase {
  kind: "matrix";
  x: string;
  y: string;
  xs: string[];
  ys: string[];
  panels: { title: string; cells: MatrixCell[] }[];
}

export interface FlowNode {
  id: string;
  name: string;
  kind: "kept" | "lost";
  n: number;
  /** Share of all that were read. */
  text: string;
  /** Where it was lost. */
  stage?: string;
  href?: string;
}

export interface Flow extends ChartBase {
  kind: "flow";
  nodes: FlowNode[];
  links: { source: string; target: string; n: number }[];
}

export type Chart = Dots | Bars | Lines | Matrix | Flow;

export interface Section {
  view: string;
  id: string;
  title: string;
  lead: string;
  said: { title: string; sentences: string[] }[];
  /** Sentences with commands between backticks. */
  missing: string[];
  charts: string[];
  tables: string[];
  /** Tables that are shown on request. */
  folded: string[];
  /** Drawings made elsewhere, shown as files. */
  pictures?: { file: string; caption: string }[];
}

export interface Made {
  date: string;
  stages: string;
  command: string;
  commit: string;
  hardware: string;
}

/** Of a prompt: literal text and names of fields in turns. */
export interface Template {
  system?: string[];
  user: string[];
}

export interface Report {
  schema: 1;
  run: string;
  version: string;
  made?: Made;
  claim?: { sentence: string; interval: [number, number] | null };
  /** The chart of the overview. */
  picture?: string;
  facts?: Fact[];
  missing?: string[];
  sections?: Section[];
  charts?: Record<string, Chart>;
  tables?: Record<string, Table>;
  /** Captions of figures/NAME.svg and .pdf. */
  figures?: Record<string, string>;
  settings?: string;
  prompts?: Template[];
}
