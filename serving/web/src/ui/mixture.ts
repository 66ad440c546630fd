/** Sliders that share a whole between them, as the ancestries that a face's type is mixed of. */

import type { Slider } from "../api/schema";
import type { Settings } from "../edit/settings";
import { element } from "./dom";
import { percent, t } from "../language";

/** What each slider has of the sum of all of them, in their order: the same for all where all are 0. */
export function sharesOf(sliders: readonly Slider[], { parameters }: Settings): number[] {
  const values = sliders.map(({ name, neutral }) => parameters[name] ?? neutral);
  const sum = values.reduce((total, value) => total + value, 0);
  return values.map((value) => (sum > 1e-6 ? value / sum : 1 / sliders.length));
}

export class Mixture {
  readonly root: HTMLElement;
  private readonly reading = element("span", { class: "reading" });
  private readonly bar: HTMLElement;

  /** @param rows the sliders as they are moved. */
  constructor(
    private readonly sliders: readonly Slider[],
    rows: readonly HTMLElement[],
  ) {
    this.bar = element("div", { class: "mixture-bar", "aria-hidden": "true" }, ...sliders.map(() => element("i")));
    this.root = element(
      "fieldset",
      { class: "choices mixture" },
      element("legend", { class: "slider-head" }, element("span", {}, t("Face type")), this.reading),
      this.bar,
      ...rows,
    );
  }

  show(now: Settings): void {
    const shares = sharesOf(this.sliders, now);
    [...this.bar.children].forEach((part, at) => (part as HTMLElement).style.setProperty("flex-grow", `${shares[at]}`));
    const most = shares.indexOf(Math.max(...shares));
    this.reading.textContent = `${this.sliders[most]?.label} ${percent(shares[most] ?? 0)}`;
  }
}
