/** Whole faces in one step: another person's values for what is not kept, or the same face more or less so. */

import type { Schema, Slider } from "../api/schema";
import { edited, type Settings } from "./settings";

/** How much farther from the average each feature goes; beyond 1 it is exaggerated, as caricatures are. */
const CARTOON = 1.4;
const SOFT = 0.7;
/** The part that the two sides of a face differ by. */
const ASYMMETRY = "asymmetry";

/** `other` in the place of `now`, but for the parts that are kept. */
export function shuffled(schema: Schema, now: Settings, other: Settings, kept: ReadonlySet<string>): Settings {
  const free = <Value>(things: readonly { name: string; part: string }[], values: Readonly<Record<string, Value>>) =>
    Object.fromEntries(
      things.flatMap(({ name, part }) => {
        const value = values[name];
        return value === undefined || kept.has(part) ? [] : [[name, value] as const];
      }),
    );
  return edited(now, {
    parameters: free(schema.sliders, other.parameters),
    discrete: free(schema.groups, other.discrete),
  });
}

/** What makes the face its own, exaggerated. */
export function cartoon(schema: Schema, now: Settings): Settings {
  return scaled(now, shapes(schema), CARTOON);
}

/** Nearer to the average, and its two sides more alike: what most people find beautiful (Langlois and Roggman, 1990). */
export function softened(schema: Schema, now: Settings): Settings {
  return scaled(now, shapes(schema), SOFT);
}

export function symmetric(schema: Schema, now: Settings): Settings {
  return scaled(
    now,
    schema.sliders.filter(({ part }) => part === ASYMMETRY),
    0,
  );
}

export function canBeSymmetric({ sliders }: Schema): boolean {
  return sliders.some(({ part }) => part === ASYMMETRY);
}

/** Sliders that move a feature by itself: not who the person is, nor colours. */
function shapes({ sliders }: Schema): Slider[] {
  return sliders.filter(({ positive, negative }) => positive || negative);
}

function scaled(now: Settings, sliders: readonly Slider[], factor: number): Settings {
  const moved = sliders.map(({ name, neutral }) => {
    const value = now.parameters[name] ?? neutral;
    return [name, Math.min(1, Math.max(0, neutral + factor * (value - neutral)))] as const;
  });
  return edited(now, { parameters: Object.fromEntries(moved), discrete: {} });
}
