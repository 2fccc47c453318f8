// What stands around every view: the run's name, the navigation, the theme, the place for the view.

import { h, said } from "./dom";
import { themeSwitch } from "./theme";
import type { Report } from "./types";
import { views } from "./views";

export interface Shell {
  main: HTMLElement;
  /** Mark the view in the navigation. */
  mark: (view: string) => void;
}

function has(report: Report, view: string): boolean {
  return (report.sections ?? []).some((section) => section.view === view);
}

export function buildShell(report: Report): Shell {
  const links = Object.entries(views)
    .filter(([name, view]) => !view.hidden && (!view.optional || has(report, name)))
    .map(([name, view]) => h("a", { href: `#/${name}`, "data-view": name }, view.title));
  const main = h("main", { id: "main", tabindex: "-1" });
  const list = h("ul", {}, ...links.map((link) => h("li", {}, link)));
  const nav = h("nav", { "aria-label": "Views" }, list);
  document.body.prepend(
    h(
      "a",
      { class: "skip", href: "#main", click: (event: Event) => skipTo(event, main) },
      "Skip to the content",
    ),
    h(
      "header",
      { class: "bar" },
      h("p", { class: "run" }, h("span", { class: "kicker" }, "AVRT run "), said(report.run)),
      nav,
      themeSwitch(),
    ),
    main,
    h("footer", {}, h("p", {}, `Made by AVRT ${report.version}.`)),
  );
  return {
    main,
    mark: (name) => {
      const shown = name === "item" ? "items" : name;
      for (const link of links) {
        if (link.dataset.view !== shown) link.removeAttribute("aria-current");
        else {
          link.setAttribute("aria-current", "page");
          centre(link, nav);
        }
      }
    },
  };
}

/** On a narrow screen the navigation is wider than the page: scroll it alone, not the page. */
function centre(link: HTMLElement, nav: HTMLElement): void {
  const [inner, outer] = [link.getBoundingClientRect(), nav.getBoundingClientRect()];
  nav.scrollLeft += inner.left + inner.width / 2 - (outer.left + outer.width / 2);
}

// The address holds the view: a plain jump to #main would lose it.
function skipTo(event: Event, main: HTMLElement): void {
  event.preventDefault();
  main.focus();
}
