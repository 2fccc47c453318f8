// The data of the page. Every file below data/ is a classic script `AVRT.put(KEY, VALUE);` because a
// page from file:// may not fetch; app.js comes first and defines `put`.

import type { Index, Item } from "./items/types";
import type { Report } from "./types";

declare global {
  interface Window {
    AVRT: { put: (key: string, value: unknown) => void };
  }
}

/** Chunks that stay in memory: some ten thousand long texts. */
const MAX_CHUNKS = 12;

const arrived = new Map<string, unknown>();
const pending = new Map<string, Promise<unknown>>();

export function installStore(): void {
  window.AVRT = { put: (key, value) => void arrived.set(key, value) };
}

/** The report, or null where data/report.js is missing. */
export function report(): Report | null {
  return (arrived.get("report") as Report | undefined) ?? null;
}

export function loadIndex(): Promise<Index> {
  return load("index", "data/index.js") as Promise<Index>;
}

export function loadChunk(number: number): Promise<Item[]> {
  const name = String(number).padStart(4, "0");
  return load(`items/${name}`, `data/items-${name}.js`) as Promise<Item[]>;
}

export async function loadItem(index: Index, place: number): Promise<Item> {
  const items = await loadChunk(Math.floor(place / index.chunk));
  const item = items[place % index.chunk];
  if (item === undefined)
    throw new Error(`item ${place} is not in its file; write the report again`);
  return item;
}

function load(key: string, path: string): Promise<unknown> {
  const known = pending.get(key);
  if (known !== undefined) {
    pending.delete(key);
    pending.set(key, known); // the last used stay longest
    return known;
  }
  const promise = arrived.has(key) ? Promise.resolve(take(key)) : addScript(key, path);
  pending.set(key, promise);
  promise.catch(() => pending.delete(key));
  forgetOldChunks();
  return promise;
}

function addScript(key: string, path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = path;
    script.addEventListener("load", () => {
      script.remove();
      if (arrived.has(key)) resolve(take(key));
      else reject(new Error(`${path} is damaged; write it again with avrt report`));
    });
    script.addEventListener("error", () => {
      script.remove();
      reject(new Error(`${path} cannot be read; copy the whole report folder, or write it again`));
    });
    document.head.append(script);
  });
}

function take(key: string): unknown {
  const value = arrived.get(key);
  arrived.delete(key);
  return value;
}

function forgetOldChunks(): void {
  const chunks = [...pending.keys()].filter((key) => key.startsWith("items/"));
  for (const key of chunks.slice(0, Math.max(0, chunks.length - MAX_CHUNKS))) pending.delete(key);
}
