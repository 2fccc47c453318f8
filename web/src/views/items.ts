// All items: search, filter panel, and the kept ones page by page, as cards or as rows.

import { type Child, h, replaceChildren, said } from "../dom";
import { formatCount } from "../format";
import { cards, rows } from "../items/cards";
import { conditionLabel } from "../items/conditions";
import {
  countWithout,
  FILE_ORDER,
  type Filter,
  readFilter,
  type Selection,
  unknownParts,
  withoutCondition,
  writeFilter,
} from "../items/filters";
import { columnLabel } from "../items/labels";
import { pager } from "../items/pager";
import { buildPanel, type Panel } from "../items/panel";
import type { TextSearch } from "../items/search";
import { openSession, type Session } from "../items/session";
import { setKeys } from "../keys";
import { noteAddress, toHash } from "../router";
import type { Report } from "../types";
import { loading } from "./loading";

export const PAGE_SIZE = 60;
/** Characters of a part of the address that the page does not know. */
const MAX_PART = 80;
const TYPING_MS = 150;
/** What a search finds is shown that often, and takes no more than a tenth of its time. */
const FOUND_MS = 300;
const FOUND_SHARE = 9;

export function items(_report: Report, params: URLSearchParams): Node {
  return loading("Items", openSession(), (session) => new Grid(session, params).node);
}

class Grid {
  readonly node: HTMLElement;
  private filter: Filter;
  private page: number;
  private layout: "grid" | "list";
  private readonly panel: Panel;
  /** What `results` show. */
  private shownKey = "";
  private readonly status = h("p", { class: "status", role: "status" });
  private readonly progress = h("p", { class: "progress" });
  private readonly unknown = h("p", { class: "missing unknown", role: "status" });
  private readonly chips = h("ul", { class: "chips", "aria-label": "Filters in use" });
  private readonly results = h("div", { class: "results" });
  private readonly search = h("input", {
    type: "search",
    id: "search",
    placeholder: "Search questions and ids",
    "aria-label": "Search",
  });
  private readonly inTexts = h("input", { type: "checkbox", id: "in-texts" });
  private readonly sort: HTMLSelectElement;
  private readonly aside: HTMLElement;

  constructor(
    private readonly session: Session,
    params: URLSearchParams,
  ) {
    this.filter = readFilter(params, session.catalog);
    this.page = Math.max(1, Number.parseInt(params.get("page") ?? "1", 10) || 1);
    this.layout = params.get("view") === "list" ? "list" : "grid";
    const everything = session.select({ ...this.filter, ...NOTHING });
    this.panel = buildPanel(session.catalog, everything, (change) => {
      change(this.filter);
      this.changed(false);
    });
    this.sort = this.buildSort();
    this.aside = h(
      "aside",
      { class: "panel", id: "filters", "aria-label": "Filters" },
      this.panel.node,
    );
    this.node = h("section", { class: "items" }, this.buildHead(), this.aside, this.results);
    this.nameUnknown(unknownParts(params, session.catalog));
    this.listenToSearch();
    setKeys(this.keys());
    this.show();
  }

  private buildHead(): HTMLElement {
    const toggle = h(
      "button",
      {
        type: "button",
        class: "panel-switch",
        "aria-expanded": "false",
        "aria-controls": "filters",
      },
      "Filters",
    );
    toggle.addEventListener("click", () => {
      const isOpen = this.aside.classList.toggle("open");
      toggle.setAttribute("aria-expanded", String(isOpen));
    });
    const view = h(
      "select",
      { "aria-label": "View as" },
      h("option", { value: "grid" }, "cards"),
      h("option", { value: "list" }, "rows"),
    );
    view.value = this.layout;
    view.addEventListener("change", () => {
      this.layout = view.value === "list" ? "list" : "grid";
      this.changed(false, this.page);
    });
    return h(
      "div",
      { class: "items-head" },
      h("h1", {}, "Items"),
      this.search,
      h("label", { class: "in-texts" }, this.inTexts, " in all texts"),
      toggle,
      h("span", { class: "tools" }, h("label", {}, "Sort ", this.sort), view),
      this.status,
      this.progress,
      this.unknown,
      this.chips,
    );
  }

  private buildSort(): HTMLSelectElement {
    const { catalog } = this.session;
    const names = [
      "question",
      "id",
      ...catalog.numbers.keys(),
      ...catalog.facets.filter(({ codes }) => codes).map(({ name }) => name),
    ];
    const select = h(
      "select",
      {},
      h("option", { value: "" }, "with pictures first"),
      h("option", { value: FILE_ORDER }, "as in the files"),
      ...names.flatMap((name) => [
        h("option", { value: name }, `${columnLabel(name)} ↑`),
        h("option", { value: `-${name}` }, `${columnLabel(name)} ↓`),
      ]),
    );
    select.value = this.filter.sort;
    select.addEventListener("change", () => {
      this.filter.sort = select.value;
      this.changed(false);
    });
    return select;
  }

  private nameUnknown(parts: string[]): void {
    const names = parts.flatMap((part, place): Child[] => [
      place > 0 && (place === parts.length - 1 ? " and " : ", "),
      "“",
      said(part.length > MAX_PART ? `${part.slice(0, MAX_PART)}…` : part),
      "”",
    ]);
    const line = ["The address has ", ...names, " that this page does not know."];
    replaceChildren(this.unknown, ...(parts.length > 0 ? line : []));
  }

  private listenToSearch(): void {
    this.search.value = this.filter.text;
    this.inTexts.checked = this.filter.inTexts;
    let timer = 0;
    this.search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = window.setTimeout(() => {
        this.filter.text = this.search.value.trim();
        this.changed(true);
      }, TYPING_MS);
    });
    this.inTexts.addEventListener("change", () => {
      this.filter.inTexts = this.inTexts.checked;
      this.changed(false);
    });
  }

  /** Show the changed filter and note it in the address; typing replaces the last address. */
  private changed(isTyping: boolean, page = 1): void {
    this.page = page;
    this.nameUnknown([]);
    noteAddress(toHash("items", this.params()), isTyping);
    this.show();
  }

  private params(): URLSearchParams {
    const params = writeFilter(this.filter);
    if (this.page > 1) params.set("page", String(this.page));
    if (this.layout === "list") params.set("view", "list");
    return params;
  }

  private show(): void {
    this.refresh();
    const search = this.session.searchOf(this.filter);
    if (search === null) {
      this.progress.replaceChildren();
      return;
    }
    const isWanted = (): boolean =>
      this.node.isConnected && this.session.searchOf(this.filter) === search;
    let nextAt = 0;
    const tell = (): void => {
      const isDone = search.done === search.nChunks;
      const start = performance.now();
      if (!isDone && start < nextAt) return;
      this.showProgress(search);
      this.refresh();
      nextAt = start + Math.max(FOUND_MS, FOUND_SHARE * (performance.now() - start));
    };
    // The node is in the page only after this view has been returned.
    window.setTimeout(() => {
      tell();
      search
        .run(isWanted, tell)
        .catch((error: Error) => replaceChildren(this.progress, error.message));
    });
  }

  private showProgress({ done, nChunks }: TextSearch): void {
    const bar = h("progress", { max: nChunks, value: done, "aria-label": "Searching the texts" });
    if (done === nChunks) replaceChildren(this.progress, "All texts searched.");
    else replaceChildren(this.progress, bar, ` ${done} of ${nChunks} files searched`);
  }

  private refresh(): void {
    const { catalog } = this.session;
    const selection = this.session.select(this.filter);
    const n = selection.places.length;
    const nPages = Math.max(1, Math.ceil(n / PAGE_SIZE));
    this.page = Math.min(this.page, nPages);
    const start = (this.page - 1) * PAGE_SIZE;
    const shown = selection.places.subarray(start, start + PAGE_SIZE);
    this.status.textContent = `${formatCount(n)} of ${formatCount(catalog.n)} items`;
    this.panel.update(this.filter, selection);
    this.showChips(selection);
    const params = this.params();
    const turn = (page: number): string => {
      const turned = new URLSearchParams(params);
      turned.set("page", String(page));
      return toHash("items", turned);
    };
    const key = n === 0 ? "" : `${shown.join()} ${nPages} ${params}`;
    if (key !== "" && key === this.shownKey) return; // a search goes on and found nothing for this page
    this.shownKey = key;
    if (n === 0) replaceChildren(this.results, this.noItems(selection));
    else
      replaceChildren(
        this.results,
        this.layout === "list" ? rows(catalog, shown, params) : cards(catalog, shown, params),
        pager(this.page, nPages, turn),
      );
    this.focusLastShown();
  }

  private showChips(selection: Selection): void {
    const chips = selection.conditions.map(({ key }) => {
      const label = conditionLabel(this.filter, key);
      return h(
        "li",
        {},
        h(
          "button",
          {
            type: "button",
            class: "chip",
            "aria-label": `Remove filter: ${label}`,
            click: () => this.remove(key),
          },
          h("span", { class: "said" }, label),
          h("span", { "aria-hidden": "true" }, " ×"),
        ),
      );
    });
    const clear = h(
      "button",
      { type: "button", class: "plain", click: () => this.clear() },
      "Remove all",
    );
    replaceChildren(this.chips, ...chips, chips.length > 1 && h("li", {}, clear));
  }

  /** Which condition to take away, and how many items that gives. */
  private noItems(selection: Selection): HTMLElement {
    const counts = [...countWithout(selection)].sort((a, b) => b[1] - a[1]);
    const ways: Child[] = counts
      .filter(([, count]) => count > 0)
      .map(([key, count]) =>
        h(
          "li",
          {},
          h(
            "button",
            { type: "button", click: () => this.remove(key) },
            "Remove ",
            h("span", { class: "said" }, conditionLabel(this.filter, key)),
          ),
          ` gives ${formatCount(count)} items`,
        ),
      );
    return h(
      "div",
      { class: "no-items" },
      h("h2", {}, "No item passes all these filters"),
      ways.length > 0
        ? h("ul", {}, ...ways)
        : h(
            "p",
            {},
            "Removing one of them is not enough. ",
            h("button", { type: "button", click: () => this.clear() }, "Remove all"),
          ),
    );
  }

  private remove(key: string): void {
    this.filter = withoutCondition(this.filter, key);
    this.afterRemoval();
  }

  private clear(): void {
    this.filter = {
      ...this.filter,
      ...NOTHING,
      values: new Map(),
      ranges: new Map(),
      verdicts: new Map(),
      answered: new Map(),
    };
    this.afterRemoval();
  }

  private afterRemoval(): void {
    this.search.value = this.filter.text;
    this.inTexts.checked = this.filter.inTexts;
    this.changed(false);
    this.search.focus();
  }

  private keys() {
    return [
      {
        keys: ["f", "/"],
        does: "go to the search and the filters",
        run: () => this.search.focus(),
      },
      { keys: ["j", "ArrowRight"], does: "next item", run: () => this.step(1) },
      { keys: ["k", "ArrowLeft"], does: "previous item", run: () => this.step(-1) },
      { keys: ["Escape"], does: "leave the search", run: () => this.links()[0]?.focus() },
    ];
  }

  private step(by: 1 | -1): void {
    const links = this.links();
    const now = links.indexOf(document.activeElement as HTMLElement);
    links[now < 0 ? 0 : Math.min(links.length - 1, Math.max(0, now + by))]?.focus();
  }

  private links(): HTMLElement[] {
    return [...this.results.querySelectorAll<HTMLElement>(".item-link")];
  }

  private focusLastShown(): void {
    const place = this.session.lastShown;
    this.session.lastShown = null;
    if (place === null) return;
    window.setTimeout(() => {
      const link = this.results.querySelector<HTMLElement>(`[data-place="${place}"]`);
      link?.focus({ preventScroll: true });
      link?.scrollIntoView({ block: "center" });
    });
  }
}

const NOTHING = {
  values: new Map<string, Set<string>>(),
  ranges: new Map<string, [number, number]>(),
  verdicts: new Map(),
  answered: new Map(),
  text: "",
  inTexts: false,
};
