// One item: what the models got, what they wrote, what became of it, what each checkpoint answered.

import { type Child, h, said } from "../dom";
import { formatCount } from "../format";
import { answersSection } from "../items/answers";
import { readFilter } from "../items/filters";
import { columnLabel, valueLabel } from "../items/labels";
import { mediaSection } from "../items/media";
import { optionList } from "../items/options";
import { provenanceSection } from "../items/provenance";
import { openSession, type Session } from "../items/session";
import { checksSection, tracesSection } from "../items/traces";
import type { Item } from "../items/types";
import { setKeys } from "../keys";
import { toHash } from "../router";
import { loadItem } from "../store";
import type { Report, Template } from "../types";
import type { Context } from "../views";
import { PAGE_SIZE } from "./items";
import { loading } from "./loading";

export function item(report: Report, params: URLSearchParams, context: Context): Node {
  return loading("Item", open(context.argument), ({ session, place, item }) => {
    session.lastShown = place;
    return show(session, place, item, params, report.prompts ?? []);
  });
}

async function open(argument: string): Promise<{ session: Session; place: number; item: Item }> {
  const session = await openSession();
  const byId = session.catalog.index.texts.id.indexOf(argument);
  const place = /^\d+$/.test(argument) ? Number(argument) : byId;
  if (place < 0 || place >= session.catalog.n) {
    throw new Error(`There is no item ${argument}: this run has ${session.catalog.n} items.`);
  }
  return { session, place, item: await loadItem(session.catalog.index, place) };
}

function show(
  session: Session,
  place: number,
  item: Item,
  params: URLSearchParams,
  templates: Template[],
): Node {
  const media = mediaSection(item.media);
  const ways = neighbours(session, place, params);
  const go = (hash: string | null): void => {
    if (hash !== null) location.hash = hash;
  };
  setKeys([
    { keys: ["j", "ArrowRight"], does: "next item of the filter", run: () => go(ways.next) },
    { keys: ["k", "ArrowLeft"], does: "previous item of the filter", run: () => go(ways.previous) },
    { keys: [" "], does: "play or pause", run: media.toggle },
    { keys: ["f", "Escape"], does: "back to the items", run: () => go(ways.back) },
  ]);
  return h(
    "article",
    { class: "item" },
    navigation(ways),
    h("h1", {}, said(item.question.trim() || "(no question)")),
    h(
      "div",
      { class: "item-top" },
      media.node,
      h("div", { class: "asked" }, optionList(item), facts(item)),
    ),
    tracesSection(item, templates),
    checksSection(item),
    answersSection(item),
    provenanceSection(item),
  );
}

interface Ways {
  back: string;
  previous: string | null;
  next: string | null;
  position: string;
}

/** Where the item stands among those that the address's filter keeps. */
function neighbours(session: Session, place: number, params: URLSearchParams): Ways {
  const { places } = session.select(readFilter(params, session.catalog));
  const position = places.indexOf(place);
  const to = (step: number): string | null => {
    const neighbour = position < 0 ? undefined : places[position + step];
    return neighbour === undefined ? null : toHash("item", params, String(neighbour));
  };
  const back = new URLSearchParams(params);
  back.delete("page");
  if (position >= PAGE_SIZE) back.set("page", String(Math.floor(position / PAGE_SIZE) + 1));
  const n = formatCount(places.length);
  return {
    back: toHash("items", back),
    previous: to(-1),
    next: to(1),
    position: position < 0 ? "not in this filter" : `${formatCount(position + 1)} of ${n}`,
  };
}

function navigation({ back, previous, next, position }: Ways): HTMLElement {
  const link = (label: string, href: string | null): Child =>
    href === null ? h("span", { class: "soft" }, label) : h("a", { href }, label);
  return h(
    "nav",
    { class: "item-nav", "aria-label": "Items of the filter" },
    link("All items of the filter", back),
    link("‹ Previous", previous),
    h("span", {}, position),
    link("Next ›", next),
  );
}

function facts(item: Item): HTMLElement {
  const names = ["id", "origin", "outcome", "reason", "stratum", "type", "relation"] as const;
  const rows = names.flatMap((name): Child[] => {
    const value = item[name];
    if (!value) return [];
    return [h("dt", {}, columnLabel(name)), h("dd", {}, said(valueLabel(name, value)))];
  });
  return h("dl", { class: "item-facts" }, ...rows);
}
