/** The few characters that the photo may be of: the likeliest ways to choose where it left the encoder in doubt. */

import type { Character } from "../api/client";
import type { Choice } from "../api/schema";
import type { Doubt } from "./doubts";

const MOST = 3;
/** Groups that are looked at together, the most doubtful ones: their combinations are counted. */
const MOST_GROUPS = 6;
/** What is hardly seen in a small picture is asked for, but makes no candidate of its own. */
const SMALL = new Set(["brows", "eyes", "lashes", "lips", "eye_makeup"]);

/** A choice for each group in doubt that is seen from afar. */
export type Candidate = ReadonlyMap<string, Choice>;

/** The likeliest first, which is what was read; of the others, those first that differ in more than one group. */
export function candidatesOf(doubts: readonly Doubt[], { discrete }: Character): Candidate[] {
  const probability = ({ group }: Doubt, choice: Choice): number =>
    discrete[group.name]?.probabilities?.[choice.name] ?? 1;
  const seen = doubts
    .filter(({ group }) => !SMALL.has(group.name))
    .sort((one, other) => probability(other, other.likely[1]!) - probability(one, one.likely[1]!))
    .slice(0, MOST_GROUPS);
  if (seen.length === 0) return [];
  let all: { candidate: Candidate; likely: number }[] = [{ candidate: new Map(), likely: 1 }];
  for (const doubt of seen) {
    all = all.flatMap(({ candidate, likely }) =>
      doubt.likely.map((choice) => ({
        candidate: new Map([...candidate, [doubt.group.name, choice]]),
        likely: likely * probability(doubt, choice),
      })),
    );
  }
  // What was taken stays the first, even where joined doubts make something else as likely.
  const [read, ...others] = all.map(({ candidate, likely }) => ({ candidate, likely }));
  const rest = others.sort((one, other) => other.likely - one.likely).map(({ candidate }) => candidate);
  const found = [read!.candidate];
  for (const apart of [2, 1]) {
    for (const candidate of rest) {
      if (found.length === MOST) return found;
      if (found.every((other) => differences(candidate, other).length >= apart)) found.push(candidate);
    }
  }
  return found;
}

/** The choices of one candidate that another does not have. */
export function differences(candidate: Candidate, other: Candidate): Choice[] {
  return [...candidate].filter(([group, choice]) => other.get(group) !== choice).map(([, choice]) => choice);
}
