/** Where the photo left the encoder in doubt: groups of which more than one choice is likely. */

import type { Character } from "../api/client";
import type { Choice, Group, Schema } from "../api/schema";
import type { Settings } from "./settings";

/** A choice of this probability is worth showing beside the one that was taken. */
const LIKELY = 0.12;
const MOST = 4;

export interface Doubt {
  group: Group;
  /** The choices to choose from: what was taken, then the others, the likeliest first. */
  likely: Choice[];
}

/**
 * Every group in doubt, in the schema's order.
 *
 * @param read what the photo gave.
 */
export function doubtsOf({ groups }: Schema, { discrete }: Character, read: Settings): Doubt[] {
  return groups.flatMap((group) => {
    const probability = (choice: string): number =>
      choice === read.discrete[group.name] ? 1 : (discrete[group.name]?.probabilities?.[choice] ?? 0);
    const likely = group.choices
      .filter(({ name }) => probability(name) >= LIKELY)
      .sort((one, other) => probability(other.name) - probability(one.name))
      .slice(0, MOST);
    return likely.length < 2 ? [] : [{ group, likely }];
  });
}
