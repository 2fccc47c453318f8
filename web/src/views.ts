// The views by their name in the address. A view builds its node at once; what it has to load comes
// into the node later. A view that has more to say than its own part asks for `context`.

import type { Report } from "./types";
import { gallery } from "./views/gallery";
import { item } from "./views/item";
import { items } from "./views/items";
import { overview } from "./views/overview";
import { sectionsView } from "./views/sections";
import { settings } from "./views/settings";

export interface Context {
  /** What follows the view in the address, such as an item's place. */
  argument: string;
}

export type View = (report: Report, params: URLSearchParams, context: Context) => Node;

/** In the order of the navigation; `item` has no place there, and optional ones have one where the
    report has sections of them. */
export const views: Record<
  string,
  { title: string; show: View; hidden?: boolean; optional?: boolean }
> = {
  overview: { title: "Overview", show: overview },
  items: { title: "Items", show: items },
  item: { title: "Item", show: item, hidden: true },
  results: { title: "Results", show: sectionsView("results", "Results") },
  training: { title: "Training", show: sectionsView("training", "Training") },
  data: { title: "Data", show: sectionsView("data", "Data") },
  funnel: { title: "Funnel", show: sectionsView("funnel", "Funnel") },
  runs: { title: "Runs", show: sectionsView("runs", "Runs side by side"), optional: true },
  experiments: {
    title: "Experiments",
    show: sectionsView("experiments", "Experiments"),
    optional: true,
  },
  gallery: { title: "Gallery", show: gallery },
  settings: { title: "Settings", show: settings },
};
