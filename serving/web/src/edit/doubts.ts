/** Where the photo left the encoder in doubt: groups of which more than one choice is likely, as the service says. */

import type { Character } from "../api/client";
import type { Choice, Group, Schema } from "../api/schema";

export interface Doubt {
  group: Group;
  /** The choices to choose from: what was taken, then the others, the likeliest first. */
  likely: Choice[];
}

/** Every group in doubt, in the schema's order. */
export function doubtsOf({ groups }: Schema, { likely = {} }: Partial<Pick<Character, "likely">>): Doubt[] {
  return groups.flatMap((group) => {
    const named = (likely[group.name] ?? []).map((name) => group.choices.find((choice) => choice.name === name));
    // The character creator may have changed since.
    const known = named.filter((choice) => choice !== undefined);
    return known.length < 2 ? [] : [{ group, likely: known }];
  });
}
