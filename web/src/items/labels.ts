// The words of the page for the names of columns and values.

export const COLUMN_LABELS: Record<string, string> = {
  origin: "Data",
  outcome: "Where it ended",
  reason: "Why it left",
  gates: "Gate that objected",
  finding: "Judge's finding",
  stratum: "Teachers that were right",
  trace_model: "Trace by the model",
  right_model: "Right trace by the model",
  type: "Question type",
  relation: "Question is about",
  letter: "Right letter",
  media: "Frames or sound",
  think_words: "Words of reasoning",
  duration_s: "Clip, seconds",
  n_options: "Options",
  n_frames: "Frames",
  id: "Id",
  question: "Question",
};

const VALUE_LABELS: Record<string, Record<string, string>> = {
  outcome: {
    train: "training set",
    validation: "validation set",
    prepare: "left before the teachers",
    trace: "left at the teachers",
    view: "left at the views",
    merge: "left at the merger",
    gate: "left at a gate",
    judge: "left at the judge",
  },
  stratum: {
    both: "both",
    vision_only: "vision alone",
    audio_only: "audio alone",
    none: "neither",
  },
  relation: { both: "sight and sound", sound: "sound", visual: "sight" },
};

/** Columns whose values are names of our own: with underscores, and "dropped/" before a reason. */
const NAMES = new Set(["reason", "gates", "finding"]);

const MODALITY_LABELS: Record<string, string> = {
  none: "text only",
  v: "frames",
  a: "sound",
  av: "frames + sound",
};

export function columnLabel(name: string): string {
  return COLUMN_LABELS[name] ?? name.replaceAll("_", " ");
}

export function valueLabel(column: string, value: string): string {
  const label = VALUE_LABELS[column]?.[value];
  if (label !== undefined) return label;
  if (value === "") return "(none)";
  return NAMES.has(column) ? value.replace(/^dropped\//, "").replaceAll("_", " ") : value;
}

export function modalityLabel(modality: string): string {
  return MODALITY_LABELS[modality] ?? modality;
}
