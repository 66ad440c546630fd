/** One slider: what it is called, where it stands, where the photo put it, and the way back. */

import type { Slider } from "../api/schema";
import { element, freshId, icon } from "./dom";
import { t } from "../language";

const STEP = 0.01;
/** Nearer to neutral than this is neutral. */
const MIDDLE = 0.005;

/** What a slider is called, where it rests, and what its ends mean. */
export type SliderTerms = Pick<Slider, "name" | "label" | "neutral" | "low" | "high">;

export interface SliderEvents {
  slide: (name: string, value: number) => void;
  settle: () => void;
  reset: (name: string) => void;
}

export class SliderRow {
  readonly root: HTMLElement;
  readonly input: HTMLInputElement;
  private readonly reading = element("output", { class: "reading", "aria-hidden": "true" });
  private readonly back: HTMLButtonElement;
  private readonly track: HTMLElement;

  constructor(
    readonly slider: SliderTerms,
    read: number,
    events: SliderEvents,
    private readonly words: (value: number) => string = (value) => valueInWords(slider, value),
    resets = t("As in the photo"),
  ) {
    const id = freshId("slider");
    this.input = element("input", {
      type: "range",
      id,
      min: 0,
      max: 1,
      step: STEP,
      oninput: () => events.slide(slider.name, this.input.valueAsNumber),
      onchange: () => events.settle(),
      ondblclick: () => events.reset(slider.name),
    });
    this.back = element(
      "button",
      {
        type: "button",
        class: "back",
        "aria-label": t("Reset {name}", { name: slider.label }),
        title: resets,
        onclick: () => this.goBack(events),
      },
      icon("reset"),
    );
    this.track = element(
      "div",
      { class: "track" },
      element("i", { class: "neutral" }),
      element("i", { class: "read" }),
      this.input,
    );
    this.track.style.setProperty("--neutral", String(slider.neutral));
    this.track.style.setProperty("--read", String(read));
    const head = element(
      "div",
      { class: "slider-head" },
      element("label", { for: id }, slider.label),
      this.reading,
      this.back,
    );
    this.root = element("div", { class: "slider" }, head, this.track);
  }

  show(value: number, isChanged: boolean): void {
    const { neutral } = this.slider;
    // While the person drags, the control itself is ahead of what it is told.
    if (Math.abs(this.input.valueAsNumber - value) > STEP / 2) this.input.valueAsNumber = value;
    const words = this.words(value);
    this.reading.textContent = words;
    this.input.setAttribute("aria-valuetext", words);
    this.track.style.setProperty("--from", String(Math.min(value, neutral)));
    this.track.style.setProperty("--to", String(Math.max(value, neutral)));
    this.root.classList.toggle("changed", isChanged);
    this.back.hidden = !isChanged;
  }

  private goBack(events: SliderEvents): void {
    events.reset(this.slider.name);
    // The button is gone now; without this the keyboard would have to start from the page's top.
    this.input.focus();
  }
}

/** "wide 24": the end that the value leans to, and how far, of a hundred. */
export function valueInWords({ neutral, low, high }: Pick<Slider, "neutral" | "low" | "high">, value: number): string {
  const offset = value - neutral;
  if (Math.abs(offset) < MIDDLE) return neutral === 0 ? t("none") : t("average");
  const room = offset < 0 ? neutral : 1 - neutral;
  const share = Math.round((100 * Math.abs(offset)) / room);
  const end = offset < 0 ? low : high;
  if (end) return `${end} ${share}`;
  return `${offset < 0 ? "−" : "+"}${share}`;
}
