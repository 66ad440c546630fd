/** The head in its viewer: follows settings at once, and becomes another person smoothly. */

import type { DrawableSchema } from "../api/schema";
import type { Settings } from "../edit/settings";
import { possible, type Weights } from "../figure/actions";
import { HeadModel } from "../figure/headModel";
import type { View } from "../ui/compare";
import { photoSquare } from "./framing";
import { SHIRTS, type Face, type Light } from "../ui/scene";
import { Viewer } from "./viewer";
import { t } from "../language";

const BECOMES_SECONDS = 1.1;
/** Pictures that follow a slider are fetched once it rests for so long, in milliseconds. */
const RESTS = 140;
const ACTS_SECONDS = 0.35;
const CALM = "calm";
/** Those of the service's expressions that people ask for. */
const EXPRESSIONS: Readonly<Record<string, string>> = {
  [CALM]: t("Calm"),
  smile: t("Smile"),
  toothy_smile: t("Broad smile"),
  laugh: t("Laugh"),
  smirk: t("Smirk"),
  wink: t("Wink"),
  surprise: t("Surprised"),
  doubt: t("Doubtful"),
  sad: t("Sad"),
  frown: t("Frown"),
  anger: t("Angry"),
  fear: t("Afraid"),
  pucker: t("Kiss"),
  puffed_cheeks: t("Puffed cheeks"),
};
const BLINKS_EVERY = 4.2;
const BLINK_SECONDS = 0.22;

export interface HeadEvents {
  /** The graphics card was taken away, or is back. */
  lost: (isLost: boolean) => void;
  /** Some of the head could not be fetched. */
  failed: (error: unknown) => void;
}

export class Head {
  readonly viewer: Viewer;
  private readonly model: HeadModel;
  private shown: Settings;
  private plaster = true;
  private readonly known: Readonly<Record<string, Readonly<Record<string, number>>>>;
  private readonly limits: Readonly<Record<string, number>>;
  private acting: Weights = new Map();
  private resting: ReturnType<typeof setTimeout> | undefined;

  /** @throws Error where the browser has no WebGL. */
  constructor(
    private readonly container: HTMLElement,
    schema: DrawableSchema,
    settings: Settings,
    private readonly events: HeadEvents,
  ) {
    this.viewer = new Viewer(container, schema.figure.camera, events.lost);
    this.model = new HeadModel(schema, () => this.viewer.invalidate(), this.viewer.anisotropy);
    this.model.wear(SHIRTS.grey);
    this.viewer.add(this.model.root);
    this.viewer.turned = (seconds) => this.model.close(closedEyes(seconds));
    this.viewer.seen = (from) => this.model.look(from);
    this.shown = settings;
    this.known = schema.figure.expressions ?? {};
    this.limits = schema.figure.face_actions ?? {};
  }

  /** Fetch and put on what was given to begin with. */
  async begin(): Promise<void> {
    await this.wear(this.shown);
    this.viewer.turn();
  }

  /** Show these settings now. */
  show(settings: Settings): void {
    this.viewer.stopTurning();
    const choosing = Object.entries(settings.discrete).some(([group, choice]) => this.shown.discrete[group] !== choice);
    this.shown = settings;
    this.model.close(0);
    this.model.pose(settings);
    this.plaster = false;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => void this.wear(settings), choosing ? 0 : RESTS);
  }

  /**
   * Turn into another person before the eyes of the one who gave the photo.
   *
   * @param plaster a head that is nobody's.
   */
  become(settings: Settings, plaster = false): void {
    this.plaster = plaster;
    clearTimeout(this.resting);
    const before = this.shown.parameters;
    this.shown = settings;
    void this.wear(settings, false);
    this.viewer.animate(BECOMES_SECONDS, (share) => {
      const eased = share * share * (3 - 2 * share);
      const between = Object.entries(settings.parameters).map(([name, value]) => {
        const from = before[name] ?? value;
        return [name, from + (value - from) * eased] as const;
      });
      // Whoever moves a slider meanwhile sees that instead.
      if (this.shown === settings) this.model.pose({ ...settings, parameters: Object.fromEntries(between) });
    });
    this.viewer.turn();
  }

  /** What the face can do; the expressions that people ask for, calm first. */
  get face(): Face {
    const names = Object.entries(EXPRESSIONS).filter(([name]) => name === CALM || name in this.known);
    const expressions = names.map(([name, label]) => [name, { label, weights: this.known[name] ?? {} }] as const);
    return { expressions: Object.fromEntries(expressions), actions: this.limits };
  }

  /** Have the face do this at once. Throws an Error when what that takes cannot be fetched. */
  async act(weights: Weights): Promise<void> {
    this.viewer.stopTurning();
    this.acting = possible(weights, this.limits);
    await this.model.act(this.acting);
  }

  /** Have the face do something. Throws an Error when what that takes cannot be fetched. */
  async express(name: string): Promise<void> {
    const [from, to] = [this.acting, new Map(Object.entries(this.known[name] ?? {}))];
    this.acting = to;
    const actions = [...new Set([...from.keys(), ...to.keys()])];
    await this.model.act(from.size === 0 && to.size > 0 ? new Map([...to.keys()].map((action) => [action, 0])) : from);
    this.viewer.stopTurning();
    this.viewer.animate(ACTS_SECONDS, (share) => {
      if (this.acting !== to) return;
      const mix = (action: string): number => (1 - share) * (from.get(action) ?? 0) + share * (to.get(action) ?? 0);
      void this.model.act(share === 1 ? to : new Map(actions.map((action) => [action, mix(action)])));
    });
  }

  /** Put on a shirt of a colour, 0xrrggbb; null: none. */
  dress(colour: number | null): void {
    this.model.wear(colour);
  }

  /** Whether the face at rest smiles a little and looks at who looks. Throws an Error like `act`. */
  async rest(friendly: boolean): Promise<void> {
    this.viewer.stopTurning();
    await this.model.rest(friendly);
  }

  light(light: Light): void {
    this.viewer.light(light);
  }

  compare(view: View): void {
    this.viewer.turnable = view === "head" || view === "beside";
    this.viewer.front(view !== "head", true);
  }

  /** What is seen now, as a square data URL of so many pixels. */
  picture(pixels: number): string {
    return this.viewer.picture(pixels);
  }

  /** The side of the square that the photo is laid over, pixels. */
  get square(): number {
    return photoSquare(this.container.clientWidth, this.container.clientHeight);
  }

  private async wear(settings: Settings, posed = true): Promise<void> {
    try {
      if (posed) this.model.pose(settings);
      await this.model.fetch(settings, this.plaster);
    } catch (error) {
      this.events.failed(error);
    }
  }
}

/** How far the eyes are closed after some seconds of standing there. */
export function closedEyes(seconds: number): number {
  const since = seconds % BLINKS_EVERY;
  const share = (since - (BLINKS_EVERY - BLINK_SECONDS)) / BLINK_SECONDS;
  return share < 0 ? 0 : Math.sin(share * Math.PI) ** 2;
}
