// Light, dark, or as the system has it. The choice is remembered where the browser allows that.

import { h } from "./dom";

const KEY = "avrt-theme";
const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

export function applyTheme(theme: Theme = remembered()): void {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function themeSwitch(): HTMLElement {
  const select = h(
    "select",
    { id: "theme", "aria-label": "Theme" },
    ...THEMES.map((theme) => h("option", { value: theme }, `${theme} theme`)),
  );
  select.value = remembered();
  select.addEventListener("change", () => {
    const theme = THEMES.find((name) => name === select.value) ?? "system";
    applyTheme(theme);
    remember(theme);
  });
  return select;
}

function remembered(): Theme {
  try {
    const stored = localStorage.getItem(KEY);
    return THEMES.find((name) => name === stored) ?? "system";
  } catch {
    return "system"; // storage is refused, as in a sandboxed frame
  }
}

function remember(theme: Theme): void {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // the switch still works for this visit
  }
}
