// The address: `#/VIEW/ARGUMENT?PARAMETERS`. All that a view shows stands in it, so that it can be sent.

export interface Route {
  view: string;
  /** What follows the view, such as an item's place. */
  argument: string;
  params: URLSearchParams;
}

export const HOME = "overview";

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = split(hash.replace(/^#?\/?/, ""), "?");
  const [view = "", argument = ""] = split(path, "/");
  return { view: view || HOME, argument: decode(argument), params: new URLSearchParams(query) };
}

export function toHash(view: string, params?: URLSearchParams, argument = ""): string {
  const path = argument === "" ? view : `${view}/${encodeURIComponent(argument)}`;
  const query = params?.toString() ?? "";
  return `#/${path}${query === "" ? "" : `?${query}`}`;
}

/** Put the address in the bar without showing its view again: the view has already changed itself. */
export function noteAddress(hash: string, replace: boolean): void {
  if (hash === location.hash) return;
  if (replace) history.replaceState(null, "", hash);
  else history.pushState(null, "", hash);
}

function split(text: string, separator: string): [string, string] {
  const place = text.indexOf(separator);
  return place < 0 ? [text, ""] : [text.slice(0, place), text.slice(place + 1)];
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray % in an address that somebody typed
  }
}
