// The page of a run: reads data/report.js, shows the view that the address names.

import "./styles/app.css";
import { h } from "./dom";
import { installKeys, setKeys } from "./keys";
import { parseRoute } from "./router";
import { buildShell } from "./shell";
import { installStore, report } from "./store";
import { applyTheme } from "./theme";
import { views } from "./views";

installStore();
applyTheme();
// data/report.js comes after this script, and before the event.
document.addEventListener("DOMContentLoaded", start);

function start(): void {
  const found = report();
  if (found === null) {
    document.body.prepend(
      h(
        "p",
        { class: "missing" },
        "data/report.js cannot be read. Copy the whole report folder, or write it again with avrt report.",
      ),
    );
    return;
  }
  const shell = buildShell(found);
  installKeys();
  let isFirst = true;
  const show = (): void => {
    const route = parseRoute(location.hash);
    // An address may name what every object has, such as `constructor`.
    const view = Object.hasOwn(views, route.view) ? views[route.view] : undefined;
    setKeys([]);
    const node = view
      ? view.show(found, route.params, { argument: route.argument })
      : h(
          "section",
          {},
          h("h1", {}, "No such view"),
          h("p", {}, `The address names “${route.view}”.`),
        );
    document.title = `${view?.title ?? "No such view"} · ${found.run} · AVRT`;
    shell.mark(route.view);
    shell.main.replaceChildren(node);
    if (!isFirst) focusHeading(shell.main);
    isFirst = false;
  };
  window.addEventListener("hashchange", show);
  show();
}

/** A screen reader goes on with the new view's heading. */
function focusHeading(main: HTMLElement): void {
  const heading = main.querySelector("h1");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}
