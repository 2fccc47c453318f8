// The resolved configuration of the run, and what made the page.

import { h, said } from "../dom";
import type { Report } from "../types";

export function settings(report: Report): Node {
  const text = report.settings ?? "";
  return h(
    "section",
    {},
    h("h1", {}, "Settings"),
    text === ""
      ? h(
          "p",
          { class: "missing" },
          "No configuration saved yet. ",
          h("code", {}, "avrt prepare"),
          " makes it.",
        )
      : h(
          "div",
          { class: "scroll", role: "region", "aria-label": "Configuration", tabindex: "0" },
          said(text, "pre"),
        ),
  );
}
