/** One group: a picture, or a colour, for each choice. */

import type { Choice, Group } from "../api/schema";
import { element, freshId, icon } from "./dom";
import { percent, t } from "../language";

/** Colours nearer than this in RGB look the same in a swatch. */
const UNLIKE = 24;
const DRAWN_WITHIN_TRIES = 8;
const BETWEEN_TRIES = 1000;

export interface ChoiceEvents {
  choose: (group: string, choice: string) => void;
  reset: (name: string) => void;
}

export class ChoiceGrid {
  readonly root: HTMLElement;
  private readonly inputs = new Map<string, HTMLInputElement>();
  private readonly current = element("span", { class: "reading" });
  private readonly back: HTMLButtonElement;

  /**
   * @param offered those of the group's choices that are shown.
   * @param read the choice that the photo gave.
   * @param probability how sure the encoder was of it; null where it is not known.
   */
  constructor(
    readonly group: Group,
    offered: readonly Choice[],
    private readonly read: string,
    private readonly probability: number | null,
    events: ChoiceEvents,
  ) {
    const name = freshId(group.name);
    this.back = element(
      "button",
      {
        type: "button",
        class: "back",
        "aria-label": t("Reset {name}", { name: group.label }),
        title: t("As in the photo"),
        onclick: () => this.goBack(events),
      },
      icon("reset"),
    );
    const asColours = canBeToldApart(group.choices.map(({ colour }) => colour));
    this.root = element(
      "fieldset",
      { class: asColours ? "choices colours" : "choices" },
      element("legend", { class: "slider-head" }, element("span", {}, group.label), this.current, this.back),
      element("div", { class: "grid" }, ...offered.map((choice) => this.tile(choice, name, asColours, events))),
    );
  }

  show(choice: string, isChanged: boolean): void {
    for (const [name, input] of this.inputs) input.checked = name === choice;
    this.current.textContent = this.group.choices.find(({ name }) => name === choice)?.label ?? choice;
    this.root.classList.toggle("changed", isChanged);
    this.back.hidden = !isChanged;
  }

  private goBack(events: ChoiceEvents): void {
    events.reset(this.group.name);
    this.inputs.get(this.read)?.focus();
  }

  private tile(choice: Choice, name: string, asColour: boolean, events: ChoiceEvents): HTMLElement {
    const isRead = choice.name === this.read;
    const input = element("input", {
      type: "radio",
      name,
      value: choice.name,
      class: "unseen",
      onchange: () => events.choose(this.group.name, choice.name),
    });
    this.inputs.set(choice.name, input);
    const tile = element("label", { class: "tile", title: choice.label }, input, picture(choice, asColour));
    tile.append(element("span", { class: asColour ? "unseen" : "tile-label" }, choice.label));
    if (isRead) tile.append(this.seal());
    return tile;
  }

  private seal(): HTMLElement {
    const read = t("Read from the photo");
    const sure = this.probability;
    return element(
      "span",
      { class: "seal", title: sure === null ? read : t("Read from the photo, {sure} sure", { sure: percent(sure) }) },
      element("span", { class: "unseen" }, `(${t("from the photo")})`),
    );
  }
}

function picture(choice: Choice, asColour: boolean): HTMLElement {
  if (asColour && choice.colour) {
    const swatch = element("span", { class: "swatch" });
    swatch.style.setProperty("--swatch", choice.colour);
    return swatch;
  }
  return choice.thumbnail === null ? element("span", { class: "thumbnail" }) : thumbnail(choice.thumbnail);
}

/** A picture that the service may still have to draw. */
function thumbnail(address: string): HTMLImageElement {
  let tries = 0;
  const again = (): void => {
    tries += 1;
    if (tries < DRAWN_WITHIN_TRIES) setTimeout(() => (image.src = address), BETWEEN_TRIES * tries);
  };
  const image = element("img", {
    class: "thumbnail",
    alt: "",
    loading: "lazy",
    decoding: "async",
    width: 160,
    height: 160,
    onerror: again,
  });
  image.src = address;
  return image;
}

/** Whether swatches of these colours, "#rrggbb", look different from each other. */
export function canBeToldApart(colours: readonly (string | null | undefined)[]): boolean {
  const points = colours.map((colour) => [1, 3, 5].map((at) => Number.parseInt(colour?.slice(at, at + 2) ?? "", 16)));
  return points.every((point, number) =>
    points
      .slice(0, number)
      .every((other) => Math.hypot(...point.map((value, at) => value - (other[at] ?? 0))) >= UNLIKE),
  );
}
