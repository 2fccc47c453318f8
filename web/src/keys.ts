// Keys of the page: those of every view, and those of the view that is shown. `?` lists them.

import { h } from "./dom";

export interface Key {
  /** As KeyboardEvent.key names them. */
  keys: string[];
  does: string;
  run: () => void;
}

const everywhere: Key[] = [{ keys: ["?"], does: "show these keys", run: showHelp }];
let ofView: Key[] = [];

/** The keys of the view that is shown from now on. */
export function setKeys(keys: Key[]): void {
  ofView = keys;
}

export function installKeys(): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]") !== null) return;
    const key = [...ofView, ...everywhere].find(({ keys }) => keys.includes(event.key));
    if (key === undefined || isTaken(event.target, event.key)) return;
    event.preventDefault();
    key.run();
  });
}

export function showHelp(): void {
  const rows = [...ofView, ...everywhere].map(({ keys, does }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, ...keys.map((key) => h("kbd", {}, named(key)))),
      h("td", {}, does),
    ),
  );
  const close = h("button", { type: "button", click: () => dialog.close() }, "Close");
  const dialog = h(
    "dialog",
    { class: "help", "aria-labelledby": "help-title", close: () => dialog.remove() },
    h("h2", { id: "help-title" }, "Keys of this view"),
    h("table", {}, h("tbody", {}, ...rows)),
    close,
  );
  document.body.append(dialog);
  dialog.showModal();
}

/** What takes text keeps all keys but Escape; what acts on Space and arrows keeps those. */
function isTaken(target: EventTarget | null, key: string): boolean {
  if (!(target instanceof Element)) return false;
  if (target.closest("textarea, select, input:not([type=checkbox], [type=radio])")) {
    return key !== "Escape";
  }
  const isControl =
    target.closest("button, a, summary, input, audio, video, [role=slider]") !== null;
  return isControl && (key === " " || key === "Enter" || key.startsWith("Arrow"));
}

function named(key: string): string {
  const names: Record<string, string> = {
    " ": "Space",
    ArrowLeft: "←",
    ArrowRight: "→",
    Escape: "Esc",
  };
  return names[key] ?? key;
}
