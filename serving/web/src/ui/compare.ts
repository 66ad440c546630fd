/** The photo beside or over the head: side by side, a curtain between them, or one fading into the other. */

import { element, freshId } from "./dom";
import { percent, t } from "../language";

export type View = "head" | "beside" | "curtain" | "fade";

const VIEWS: readonly (readonly [View, string])[] = [
  ["head", t("Head")],
  ["beside", t("Side by side")],
  ["curtain", t("Swipe")],
  ["fade", t("Fade")],
];
const MIX: Record<string, string> = { curtain: t("Where the photo ends"), fade: t("How much of the photo is seen") };

export class Compare {
  /** To be laid over the viewer. */
  readonly overlay: HTMLElement;
  /** The switch between the views. */
  readonly bar: HTMLElement;
  private readonly photo = element("img", { class: "aligned", alt: t("The face in your photo, upright") });
  private readonly frame = element("div", { class: "frame" }, this.photo, element("i", { class: "curtain-line" }));
  private readonly mix: HTMLInputElement;
  private readonly options = new Map<View, HTMLInputElement>();

  constructor(private readonly chosen: (view: View) => void) {
    this.mix = element("input", {
      type: "range",
      class: "mix",
      min: 0,
      max: 100,
      step: 1,
      value: 50,
      oninput: () => this.blend(),
    });
    this.overlay = element("div", { class: "compare", hidden: true }, this.frame, this.mix);
    const name = freshId("view");
    const options = VIEWS.map(([view, label]) => {
      const input = element("input", {
        type: "radio",
        name,
        class: "unseen",
        checked: view === "head",
        onchange: () => this.choose(view),
      });
      this.options.set(view, input);
      return element("label", { class: "segment" }, input, element("span", {}, label));
    });
    this.bar = element(
      "fieldset",
      { class: "segments", hidden: true },
      element("legend", { class: "unseen" }, t("Compare with the photo")),
      ...options,
    );
    this.blend();
  }

  /** The aligned face to compare with, a data URL; null: there is none. */
  set face(address: string | null) {
    this.bar.hidden = address === null;
    if (address === null) this.photo.removeAttribute("src");
    else this.photo.src = address;
    this.choose("head");
  }

  choose(view: View): void {
    const option = this.options.get(view);
    if (option !== undefined) option.checked = true;
    this.overlay.hidden = view === "head";
    this.overlay.dataset["view"] = view;
    this.mix.hidden = view === "head" || view === "beside";
    this.mix.setAttribute("aria-label", MIX[view] ?? "");
    this.chosen(view);
  }

  /** The side of the square that the photo is laid over, pixels. */
  set square(side: number) {
    this.overlay.style.setProperty("--square", `${side}px`);
  }

  private blend(): void {
    this.overlay.style.setProperty("--mix", String(this.mix.valueAsNumber / 100));
    this.mix.setAttribute("aria-valuetext", t("{share} photo", { share: percent(this.mix.valueAsNumber / 100) }));
  }
}
