// What the models saw and heard: frames, clip, sound.

import { h } from "../dom";
import { aspectOf, frame } from "./frames";
import { buildPlayer } from "./player";
import type { Media } from "./types";

export interface MediaSection {
  node: HTMLElement;
  /** Play or pause the sound, or the clip where there is no sound. */
  toggle: () => void;
}

export function mediaSection(media: Media | null): MediaSection {
  const times = media?.times_s ?? [];
  const frames = media?.strip ? framesOf(media.strip, media) : [];
  const isTall = media !== null && (aspectOf(media) ?? 1) < 1;
  const mark = (seconds: number): void => {
    const now = times.findLastIndex((time) => time <= seconds);
    frames.forEach((figure, number) => {
      figure.classList.toggle("now", number === now && seconds > 0);
    });
  };
  const player = media === null ? null : buildPlayer(media, mark);
  const clip = media?.clip ? buildClip(media.clip) : null;
  const missing = Object.entries(media?.missing ?? {}).map(([medium, reason]) =>
    h("p", { class: "missing" }, `No ${medium}: ${reason}`),
  );
  const isEmpty = frames.length === 0 && player === null && clip === null && missing.length === 0;
  const node = h(
    "section",
    { class: "media", "aria-label": "Frames and sound" },
    frames.length > 0 &&
      h("ol", { class: isTall ? "frames tall" : "frames", "aria-label": "Frames" }, ...frames),
    media && partsNote(media),
    clip &&
      h("details", { class: "clip", open: frames.length === 0 }, h("summary", {}, "Clip"), clip),
    player?.node,
    ...missing,
    isEmpty && h("p", { class: "missing" }, "This page has no frames and no sound of this item."),
  );
  const toggle = (): void => {
    if (player) player.toggle();
    else if (clip?.paused) clip.play().catch(() => undefined);
    else clip?.pause();
  };
  return { node, toggle };
}

const CLIP_HEIGHT = 360;
/** Pixels; the same stands in item.css. */

/** A clip is shown at most twice as large as it is. */
function buildClip(src: string): HTMLVideoElement {
  const clip = h("video", { src, controls: true, preload: "metadata", "aria-label": "Clip" });
  clip.addEventListener("loadedmetadata", () => {
    const { videoWidth, videoHeight } = clip;
    if (videoHeight === 0) return;
    const scale = Math.min(2, CLIP_HEIGHT / videoHeight);
    clip.style.width = `min(100%, ${Math.round(scale * videoWidth)}px)`;
  });
  return clip;
}

function framesOf(strip: string, media: Media): HTMLElement[] {
  const n = media.n_frames ?? 1;
  return Array.from({ length: n }, (_, number) => {
    const time = media.times_s?.[number];
    const at = time === undefined ? "" : `${time.toFixed(1)} s`;
    const alt = `Frame ${number + 1} of ${n}${at === "" ? "" : `, at ${at}`}`;
    return h(
      "li",
      {},
      frame(strip, number, n, aspectOf(media), alt),
      at !== "" && h("small", { "aria-hidden": "true" }, at),
    );
  });
}

/** What the models got and the page does not show, or the file holds and the models did not get. */
function partsNote(media: Media): HTMLElement | null {
  const { n_frames = 0, given_frames = n_frames, seconds = 0, source_seconds } = media;
  const notes = [
    given_frames > n_frames ? `${n_frames} of the ${given_frames} frames that the models got.` : "",
    source_seconds && source_seconds > seconds + 0.05
      ? `The models got ${seconds.toFixed(1)} of the ${source_seconds.toFixed(1)} seconds of sound.`
      : "",
  ].filter(Boolean);
  return notes.length === 0 ? null : h("p", { class: "soft" }, notes.join(" "));
}
