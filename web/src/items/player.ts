// The sound of an item: a player, with waveform and spectrogram that show and set the position.

import { h, svg } from "../dom";
import type { Media } from "./types";

const STEP_S = 1;

export interface Player {
  node: HTMLElement;
  toggle: () => void;
}

/** `tell` gets the position in seconds whenever it changes. */
export function buildPlayer(media: Media, tell: (seconds: number) => void): Player | null {
  if (!media.sound) return null;
  const seconds = media.seconds ?? 0;
  const audio = h("audio", {
    src: media.sound,
    controls: true,
    preload: "metadata",
    "aria-label": "Sound",
  });
  const head = h("span", { class: "playhead" });
  const note = h("p", { class: "soft", role: "status" });
  const slider = h(
    "div",
    {
      class: "track",
      role: "slider",
      tabindex: "0",
      "aria-label": "Position in the sound",
      "aria-valuemin": "0",
      "aria-valuemax": seconds,
    },
    media.peaks && media.peaks.length > 0 && waveform(media.peaks),
    media.spectrogram &&
      h("img", { class: "spectrogram", src: media.spectrogram, alt: "", loading: "lazy" }),
    head,
  );
  const show = (): void => {
    const at = Math.min(audio.currentTime, seconds);
    head.style.left = `${seconds > 0 ? (100 * at) / seconds : 0}%`;
    slider.setAttribute("aria-valuenow", at.toFixed(1));
    slider.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${seconds.toFixed(1)} seconds`);
    tell(at);
  };
  const seek = (to: number): void => {
    audio.currentTime = Math.min(seconds, Math.max(0, to));
    show();
  };
  const toggle = (): void => {
    if (audio.paused)
      audio.play().catch((error: Error) => note.append(`Not played: ${error.message}`));
    else audio.pause();
  };
  slider.addEventListener("pointerdown", (event) => {
    const { left, width } = slider.getBoundingClientRect();
    seek((seconds * (event.clientX - left)) / width);
  });
  slider.addEventListener("keydown", (event) => {
    const steps: Record<string, number> = {
      ArrowLeft: -STEP_S,
      ArrowRight: STEP_S,
      Home: -seconds,
      End: seconds,
    };
    const step = steps[event.key];
    if (step !== undefined) seek(audio.currentTime + step);
    else if (event.key === " ") toggle();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  audio.addEventListener("timeupdate", show);
  audio.addEventListener("seeked", show);
  const frameByFrame = (): void => {
    if (audio.paused || !audio.isConnected) return;
    show();
    requestAnimationFrame(frameByFrame);
  };
  audio.addEventListener("play", frameByFrame);
  audio.addEventListener("error", () =>
    note.replaceChildren("This browser cannot play the sound's file."),
  );
  show();
  return { node: h("div", { class: "player" }, slider, audio, note), toggle };
}

function waveform(peaks: number[]): SVGElement {
  const points = peaks.map(
    (peak, place) => [place + 0.5, (50 * Math.min(255, peak)) / 255] as const,
  );
  const upper = points.map(([x, y]) => `${x} ${50 - y}`);
  const lower = points.map(([x, y]) => `${x} ${50 + y}`).reverse();
  return svg(
    "svg",
    {
      class: "waveform",
      viewBox: `0 0 ${peaks.length} 100`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    },
    svg("path", { d: `M${[...upper, ...lower].join("L")}Z` }),
  );
}
