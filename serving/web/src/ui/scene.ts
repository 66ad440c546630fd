/** How the head is looked at: what its face does, its light, what is behind it. None of it is saved. */

import { element, freshId } from "./dom";
import { t } from "../language";

export const LIGHTS = {
  studio: t("Studio"),
  side: t("From the side"),
  evening: t("Evening"),
  bright: t("Bright"),
} as const;
export type Light = keyof typeof LIGHTS;
export const BACKGROUNDS = {
  studio: t("As the page"),
  paper: t("White"),
  night: t("Night"),
  sand: t("Sand"),
  sky: t("Sky"),
} as const;
export type Background = keyof typeof BACKGROUNDS;

export interface SceneEvents {
  expression: (name: string) => void;
  light: (light: Light) => void;
  background: (background: Background) => void;
}

export class Scene {
  readonly root: HTMLElement;
  private readonly first: HTMLInputElement[] = [];

  /** @param expressions their names and what they are called; none: the face cannot move. */
  constructor(expressions: Readonly<Record<string, string>>, events: SceneEvents) {
    this.root = element(
      "div",
      { class: "scene" },
      Object.keys(expressions).length === 0 ? null : this.row(t("Expression"), expressions, events.expression),
      this.row(t("Light"), LIGHTS, events.light),
      this.row(t("Background"), BACKGROUNDS, events.background),
    );
  }

  /** As it was at first. */
  reset(): void {
    for (const input of this.first) if (!input.checked) input.click();
  }

  private row<Name extends string>(
    title: string,
    options: Readonly<Record<Name, string>>,
    chosen: (name: Name) => void,
  ): HTMLElement {
    const name = freshId("scene");
    const chips = (Object.entries(options) as [Name, string][]).map(([value, label], at) => {
      const input = element("input", {
        type: "radio",
        name,
        value,
        checked: at === 0,
        onchange: () => chosen(value),
      });
      if (at === 0) this.first.push(input);
      return element("label", { class: "keep" }, input, element("span", { class: "chip" }, label));
    });
    return element(
      "fieldset",
      { class: "choices" },
      element("legend", { class: "slider-head" }, title),
      element("div", { class: "offered" }, ...chips),
    );
  }
}
