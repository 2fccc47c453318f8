// Search in all texts of all items: loads one chunk after the other and notes where the words are.

import { loadChunk } from "../store";
import { wordsOf } from "./filters";
import type { Index, Item } from "./types";

export class TextSearch {
  /** 1 for every item that has all words in its texts. */
  readonly found: Uint8Array;
  readonly nChunks: number;
  /** Chunks that have been searched. */
  done = 0;

  constructor(
    private readonly index: Index,
    readonly text: string,
  ) {
    this.found = new Uint8Array(index.n);
    this.nChunks = Math.ceil(index.n / index.chunk);
  }

  /** Go on with the search as long as `isWanted`, with a word after every chunk. */
  async run(isWanted: () => boolean, tell: () => void): Promise<void> {
    const words = wordsOf(this.text);
    while (this.done < this.nChunks && isWanted()) {
      const number = this.done;
      const items = await loadChunk(number);
      if (number !== this.done) continue; // another view of the same search was quicker
      items.forEach((item, place) => {
        const text = textOf(item);
        if (words.every((word) => text.includes(word))) {
          this.found[number * this.index.chunk + place] = 1;
        }
      });
      this.done += 1;
      tell();
    }
  }
}

/** All texts of an item in lower case. */
export function textOf(item: Item): string {
  const texts = [
    item.id,
    item.question,
    ...item.options,
    ...item.traces.map((trace) => trace.text),
    item.merged?.text,
    ...item.findings.flatMap(({ finding, quote }) => [finding, quote]),
    ...item.answers.map((answer) => answer.text),
  ];
  return texts.join("\n").toLowerCase();
}
