/** Every action of the face by itself, named as ARKit names them: sliders that are not saved. */

import type { Weights } from "../figure/actions";
import { element } from "./dom";
import { SliderRow } from "./slider";
import { percent, t } from "../language";

/** By ARKit's names without their side; left and right are the person's own. */
const LABELS: Readonly<Record<string, string>> = {
  browDown: t("Brows down"),
  browInnerUp: t("Inner brows up"),
  browOuterUp: t("Outer brows up"),
  eyeBlink: t("Eyes closed"),
  eyeSquint: t("Eyes narrowed"),
  eyeWide: t("Eyes wide"),
  eyeLookUp: t("Look up"),
  eyeLookDown: t("Look down"),
  eyeLookIn: t("Look inwards"),
  eyeLookOut: t("Look outwards"),
  cheekPuff: t("Cheeks puffed"),
  cheekSquint: t("Cheeks raised"),
  noseSneer: t("Nose wrinkled"),
  jawOpen: t("Jaw open"),
  jawForward: t("Jaw forward"),
  jawLeft: t("Jaw to the left"),
  jawRight: t("Jaw to the right"),
  mouthClose: t("Lips shut over the open jaw"),
  mouthSmile: t("Corners of the mouth up"),
  mouthFrown: t("Corners of the mouth down"),
  mouthDimple: t("Dimples"),
  mouthStretch: t("Mouth stretched"),
  mouthPress: t("Lips pressed"),
  mouthFunnel: t("Lips as for “oh”"),
  mouthPucker: t("Lips as for a kiss"),
  mouthLeft: t("Mouth to the left"),
  mouthRight: t("Mouth to the right"),
  mouthUpperUp: t("Upper lip up"),
  mouthLowerDown: t("Lower lip down"),
  mouthRollUpper: t("Upper lip rolled in"),
  mouthRollLower: t("Lower lip rolled in"),
  mouthShrugUpper: t("Upper lip pushed up"),
  mouthShrugLower: t("Lower lip pushed up"),
  tongueOut: t("Tongue out"),
};
const ORDER = Object.keys(LABELS);
const SIDES = ["Left", "Right"] as const;
/** While left and right move together, both eyes look the same way, which is inwards for one of them. */
const GAZE: readonly (readonly [string, readonly string[]])[] = [
  [t("Look to the left"), ["eyeLookOutLeft", "eyeLookInRight"]],
  [t("Look to the right"), ["eyeLookInLeft", "eyeLookOutRight"]],
];
const PARTS: readonly (readonly [string, RegExp])[] = [
  [t("Brows"), /^brow/],
  [t("Eyes and gaze"), /^eye/],
  [t("Cheeks and nose"), /^(cheek|nose)/],
  [t("Jaw and tongue"), /^(jaw|tongue)/],
  [t("Mouth and lips"), /^mouth/],
];

/** One slider, and the actions that it sets; when it is there. */
interface Row {
  actions: readonly string[];
  when: "together" | "alone" | undefined;
  slider: SliderRow;
}

export class FaceActions {
  readonly root: HTMLElement;
  /** Shares of what the meshes can show, 0 to 1. */
  private readonly shares = new Map<string, number>();
  private readonly rows: Row[] = [];
  private readonly together = element("input", { type: "checkbox", checked: true, onchange: () => this.pair() });
  private readonly reset = element(
    "button",
    { type: "button", class: "quiet", onclick: () => this.set([...this.shares.keys()], 0) },
    t("Reset these"),
  );

  /**
   * @param limits every action, and the largest weight that the meshes can show.
   * @param act the weights of all actions that somebody set by a slider.
   */
  constructor(
    private readonly limits: Readonly<Record<string, number>>,
    private readonly act: (weights: Weights) => void,
  ) {
    const names = Object.keys(limits);
    this.root = element(
      "details",
      { class: "actions" },
      element("summary", {}, t("Every movement by itself")),
      element(
        "div",
        { class: "actions-head" },
        element(
          "label",
          { class: "keep" },
          this.together,
          element("span", { class: "chip" }, t("Both sides together")),
        ),
        this.reset,
      ),
      ...PARTS.map(([title, belongs]) =>
        this.part(
          title,
          names.filter((name) => belongs.test(name)),
        ),
      ),
    );
    this.pair();
    this.update();
  }

  /** An expression was chosen: show what it does. */
  show(weights: Readonly<Record<string, number>>): void {
    this.shares.clear();
    for (const [name, weight] of Object.entries(weights)) {
      this.shares.set(name, Math.min(1, weight / (this.limits[name] ?? 1)));
    }
    this.update();
  }

  private part(title: string, names: readonly string[]): HTMLElement | string {
    if (names.length === 0) return "";
    const looks = GAZE.filter(([, actions]) => actions.every((name) => names.includes(name)));
    const looking = looks.flatMap(([, actions]) => actions);
    const rows = [...new Set(names.map(baseOf))].sort(byLabels).flatMap((base) => {
      if (names.includes(base)) return [this.row(labelOf(base), [base])];
      const sides = SIDES.map((side) => base + side).filter((name) => names.includes(name));
      const single = sides.map((name) => this.row(labelOfSide(name), [name], "alone"));
      return looking.includes(sides[0]!) ? single : [this.row(labelOf(base), sides, "together"), ...single];
    });
    rows.push(...looks.map(([label, actions]) => this.row(label, actions, "together")));
    return element("div", {}, element("h3", {}, title), ...rows);
  }

  /** @param when it is there while left and right move together, or alone; always where it has no side. */
  private row(label: string, actions: readonly string[], when?: "together" | "alone"): HTMLElement {
    const events = {
      slide: (_: string, value: number) => this.set(actions, value),
      settle: () => undefined,
      reset: () => this.set(actions, 0),
    };
    const terms = { name: label, label, neutral: 0, low: null, high: null };
    const slider = new SliderRow(terms, 0, events, (value) => (value === 0 ? t("none") : percent(value)), t("At rest"));
    this.rows.push({ actions, when, slider });
    return slider.root;
  }

  private set(actions: readonly string[], share: number): void {
    for (const name of actions) this.shares.set(name, share);
    this.update();
    this.act(new Map([...this.shares].map(([name, share]) => [name, share * (this.limits[name] ?? 1)])));
  }

  /** One row for left and right, or one each. */
  private pair(): void {
    const now = this.together.checked ? "together" : "alone";
    for (const { when, slider } of this.rows) slider.root.hidden = when !== undefined && when !== now;
  }

  private update(): void {
    for (const { actions, slider } of this.rows) {
      const shares = actions.map((name) => this.shares.get(name) ?? 0);
      const share = shares.reduce((sum, each) => sum + each, 0) / shares.length;
      slider.show(share, share > 0);
    }
    this.reset.hidden = ![...this.shares.values()].some((share) => share > 0);
  }
}

/** "mouthSmile" of "mouthSmileLeft"; a jaw to the left is no left jaw. */
function baseOf(name: string): string {
  return name in LABELS ? name : name.replace(/(Left|Right)$/, "");
}

function byLabels(one: string, other: string): number {
  return ORDER.indexOf(one) - ORDER.indexOf(other);
}

/** "mouthSmile" where there is no word for it. */
function labelOf(name: string): string {
  return LABELS[name] ?? name;
}

function labelOfSide(name: string): string {
  const action = labelOf(baseOf(name));
  return name.endsWith("Left") ? t("{action}, left", { action }) : t("{action}, right", { action });
}
