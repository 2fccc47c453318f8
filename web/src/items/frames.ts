// Frames cut out of an item's strip (all frames side by side in one file) by CSS alone.

import { h } from "../dom";
import { loadItem } from "../store";
import type { Catalog } from "./catalog";
import type { Media } from "./types";

/** Frame `number` of `n`; `aspect` is width by height, taken from the picture where it is unknown. */
export function frame(
  strip: string,
  number: number,
  n: number,
  aspect: number | null,
  alt: string,
): HTMLElement {
  const picture = h("img", { src: strip, alt, loading: "lazy", decoding: "async" });
  const box = h("span", { class: "frame" }, picture);
  const setAspect = (ratio: number): void => {
    box.style.aspectRatio = String(ratio);
  };
  picture.style.objectPosition = `${n > 1 ? (100 * number) / (n - 1) : 50}% 0`;
  if (aspect !== null) setAspect(aspect);
  else
    picture.addEventListener("load", () =>
      setAspect(picture.naturalWidth / n / picture.naturalHeight),
    );
  picture.addEventListener("error", () => box.replaceChildren(noFrame("picture missing")));
  return box;
}

/** The middle frame of an item for its card, from the index or, where it has none, the chunk. */
export function cardFrame(catalog: Catalog, place: number): HTMLElement {
  const box = h("div", { class: "card-frame" });
  const strip = catalog.index.texts.strip?.[place];
  const n = catalog.numbers.get("n_frames")?.[place] ?? Number.NaN;
  if (strip !== undefined) {
    box.append(
      strip === ""
        ? noFrame(catalog.index.media[place] ? "sound alone" : "no frames")
        : middle(strip, Number.isNaN(n) ? 1 : n, null),
    );
    return box;
  }
  const fill = async (): Promise<void> => {
    const { media } = await loadItem(catalog.index, place);
    box.append(fromMedia(media));
  };
  whenSeen(box, () => void fill().catch(() => box.append(noFrame("not loaded"))));
  return box;
}

export function aspectOf(media: Media): number | null {
  const [width, height] = media.frame ?? [0, 0];
  return width > 0 && height > 0 ? width / height : null;
}

function fromMedia(media: Media | null): HTMLElement {
  if (!media?.strip) return noFrame("no frames");
  return middle(media.strip, media.n_frames ?? 1, aspectOf(media));
}

function middle(strip: string, n: number, aspect: number | null): HTMLElement {
  return frame(strip, Math.floor((n - 1) / 2), n, aspect, "");
}

function noFrame(text: string): HTMLElement {
  return h("span", { class: "no-frame" }, text);
}

function whenSeen(element: Element, run: () => void): void {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      run();
    },
    { rootMargin: "200px" },
  );
  observer.observe(element);
}
