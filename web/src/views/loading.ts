import { h } from "../dom";

/** A place that says that it loads, and then is what `build` makes, or says why it cannot. */
export function loading<T>(
  title: string,
  promise: Promise<T>,
  build: (value: T) => Node,
): HTMLElement {
  const wait = h("p", { role: "status" }, "Loading …");
  const place = h("div", { class: "loading" }, h("h1", {}, title), wait);
  promise
    .then((value) => {
      if (!place.isConnected) return; // another view has taken its place
      const node = build(value);
      const hadFocus = place.contains(document.activeElement);
      place.replaceChildren(node);
      if (!hadFocus) return;
      const heading = place.querySelector("h1");
      heading?.setAttribute("tabindex", "-1");
      heading?.focus({ preventScroll: true });
    })
    .catch((error: Error) => {
      wait.setAttribute("role", "alert");
      wait.textContent = error.message;
    });
  return place;
}
