// What the views of items share: the catalog, the last selection, the search in all texts.

import { loadIndex } from "../store";
import { type Catalog, toCatalog } from "./catalog";
import { type Filter, type Selection, Selector, wordsOf } from "./filters";
import { TextSearch } from "./search";

export class Session {
  /** The item that was shown last: the grid goes back to it. */
  lastShown: number | null = null;
  private readonly selector: Selector;
  private search: TextSearch | null = null;

  constructor(readonly catalog: Catalog) {
    this.selector = new Selector(catalog);
  }

  select(filter: Filter): Selection {
    return this.selector.select(filter, this.searchOf(filter)?.found ?? null);
  }

  /** The search that the filter asks for; what an equal one has found stays. */
  searchOf(filter: Filter): TextSearch | null {
    const words = wordsOf(filter.text);
    if (!filter.inTexts || words.length === 0) return null;
    const text = words.join(" ");
    if (this.search?.text !== text) this.search = new TextSearch(this.catalog.index, text);
    return this.search;
  }
}

let opened: Promise<Session> | null = null;

export function openSession(): Promise<Session> {
  opened ??= loadIndex().then((index) => new Session(toCatalog(index)));
  opened.catch(() => {
    opened = null;
  });
  return opened;
}
