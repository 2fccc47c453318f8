// Elements from tag, properties and children. Children become text nodes: no text of a model or a
// data set can turn into markup, and there is no way here to pass HTML or a handler as a string.

export type Child = Node | string | number | null | undefined | false;
type Handler = (event: never) => void;
export type Props = Record<string, string | number | boolean | null | undefined | Handler>;

const SVG = "http://www.w3.org/2000/svg";
/** Attributes whose value a browser would run or load: only paths and hashes that AVRT made. */
const ADDRESSES = new Set(["href", "src", "poster", "download"]);

export function h<T extends keyof HTMLElementTagNameMap>(
  tag: T,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[T] {
  return fill(document.createElement(tag), props, children);
}

export function svg<T extends keyof SVGElementTagNameMap>(
  tag: T,
  props: Props = {},
  ...children: Child[]
): SVGElementTagNameMap[T] {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/** Characters from which on a text scrolls in a box of its own. */
const LONG = 1000;

/** A text that a model or a data set wrote; its direction cannot leak into what stands around it. */
export function said(text: string, tag: "span" | "pre" = "span"): HTMLElement {
  const isLong = tag === "span" && text.length > LONG;
  const tabindex = isLong ? "0" : null; // a scrolling box must be reached by key
  return h(tag, { class: isLong ? "said long" : "said", dir: "auto", tabindex }, text);
}

/** A part that is built when it is opened. */
export function folded(title: string, build: () => Node): HTMLElement {
  const details = h("details", { class: "folded" }, h("summary", {}, said(title)));
  const fill = (): void => {
    if (details.childElementCount === 1) details.append(build());
  };
  details.addEventListener("toggle", fill);
  return details;
}

export function replaceChildren(parent: Element, ...children: Child[]): void {
  parent.replaceChildren(...children.filter(isShown).map(toNode));
}

function fill<E extends Element>(element: E, props: Props, children: Child[]): E {
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") {
      element.addEventListener(name, value as EventListener);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      setAttribute(element, name, String(value));
    }
  }
  element.append(...children.filter(isShown).map(toNode));
  return element;
}

function setAttribute(element: Element, name: string, value: string): void {
  if (/^on/i.test(name) || name === "srcdoc") throw new Error(`attribute ${name} is not allowed`);
  if (ADDRESSES.has(name) && !isLocal(value)) return;
  element.setAttribute(name, value);
}

/** A hash or a relative path below the report's folder: no scheme, no host. */
export function isLocal(address: string): boolean {
  return address.startsWith("#") || /^(\.\.\/)*[\w%.][^:\\]*$/.test(address);
}

function isShown(child: Child): child is Node | string | number {
  return child !== null && child !== undefined && child !== false;
}

function toNode(child: Node | string | number): Node {
  return child instanceof Node ? child : document.createTextNode(String(child));
}
