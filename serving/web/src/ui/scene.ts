/** How the head is looked at: what its face does, its shirt, its light, what is behind it. None of it is saved. */

import type { Weights } from "../figure/actions";
import { FaceActions } from "./actions";
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

/** Colours, 0xrrggbb; none: the bust fades out below the neck. */
export const SHIRTS = {
  grey: 0x8d9696,
  white: 0xe9e7e1,
  navy: 0x2a3a57,
  green: 0x1f5a4a,
  wine: 0x6b2434,
  none: null,
} as const;
export type Shirt = keyof typeof SHIRTS;
const SHIRT_NAMES: Readonly<Record<Shirt, string>> = {
  grey: t("Grey"),
  white: t("White"),
  navy: t("Navy blue"),
  green: t("Green"),
  wine: t("Wine red"),
  none: t("None"),
};

/** A face that does nothing in particular. */
export const RESTS = { friendly: t("Friendly"), straight: t("Straight") } as const;

/** What the face can do. */
export interface Face {
  /** Named expressions, calm first: what they are called, and the weights of actions. */
  expressions: Readonly<Record<string, { label: string; weights: Readonly<Record<string, number>> }>>;
  /** Every action, and the largest weight that can be shown. */
  actions: Readonly<Record<string, number>>;
}

export interface SceneEvents {
  expression: (name: string) => void;
  act: (weights: Weights) => void;
  rest: (friendly: boolean) => void;
  shirt: (colour: number | null) => void;
  light: (light: Light) => void;
  background: (background: Background) => void;
}

export class Scene {
  readonly root: HTMLElement;
  private readonly first: HTMLInputElement[] = [];

  constructor({ expressions, actions }: Face, events: SceneEvents) {
    const names = Object.entries(expressions).map(([name, { label }]) => [name, label] as const);
    const chosen = (name: string): void => {
      events.expression(name);
      sliders.show(expressions[name]?.weights ?? {});
    };
    const sliders = new FaceActions(actions, (weights) => {
      for (const input of expression.querySelectorAll("input")) input.checked = false;
      events.act(weights);
    });
    const expression = this.row(t("Expression"), Object.fromEntries(names), chosen);
    const moves = Object.keys(actions).length > 0;
    this.root = element(
      "div",
      { class: "scene" },
      moves ? expression : null,
      moves ? sliders.root : null,
      moves ? this.row(t("Resting face"), RESTS, (rest) => events.rest(rest === "friendly")) : null,
      this.row(t("Shirt"), SHIRT_NAMES, (shirt) => events.shirt(SHIRTS[shirt])),
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
