// A condition of a filter in words.

import { VERDICT_LABELS } from "./catalog";
import type { Filter } from "./filters";
import { columnLabel, modalityLabel, valueLabel } from "./labels";

const MAX_LENGTH = 80;

export function conditionLabel(filter: Filter, key: string): string {
  const text = describe(filter, key);
  return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text;
}

function describe(filter: Filter, key: string): string {
  if (key === "q") return `${filter.inTexts ? "in all texts" : "search"}: ${filter.text}`;
  const values = filter.values.get(key);
  if (values) {
    return `${columnLabel(key)}: ${[...values].map((value) => valueLabel(key, value)).join(" or ")}`;
  }
  const range = filter.ranges.get(key);
  if (range) return `${columnLabel(key)}: ${rangeText(...range)}`;
  const [kind, column] = [key.slice(0, key.indexOf(" ")), key.slice(key.indexOf(" ") + 1)];
  const verdicts = filter.verdicts.get(column);
  if (kind === "verdict" && verdicts) {
    const words = [...verdicts].map((verdict) => VERDICT_LABELS[verdict]).join(" or ");
    return `${modelLabel(column)}: ${words}`;
  }
  return `${modelLabel(column)} answered ${[...(filter.answered.get(column) ?? [])].join(" or ")}`;
}

/** "MODEL:MODALITY" in words. */
export function modelLabel(key: string): string {
  const end = key.lastIndexOf(":");
  if (end < 0) return key;
  return `${key.slice(0, end)} (${modalityLabel(key.slice(end + 1))})`;
}

function rangeText(least: number, most: number): string {
  if (least === most) return String(least);
  if (!Number.isFinite(most)) return `at least ${least}`;
  return Number.isFinite(least) ? `${least} to ${most}` : `at most ${most}`;
}
