import { describe, expect, it } from "vitest";

import type { Character } from "../src/api/client";
import type { Schema } from "../src/api/schema";
import { candidatesOf } from "../src/edit/candidates";
import { doubtsOf } from "../src/edit/doubts";
import { around } from "../src/photo";

const PROBABILITIES = {
  hair: { short: 0.6, crew: 0.4 },
  beard: { stubble: 0.8, none: 0.2 },
  brows: { natural: 0.5, bold: 0.5 },
  skin: { light: 0.99, dark: 0.01 },
};

function candidates(probabilities: Record<string, Record<string, number>>): string[] {
  const groups = Object.entries(probabilities).map(([name, choices]) => ({
    name,
    choices: Object.keys(choices).map((choice) => ({ name: choice, label: choice })),
  }));
  const read = Object.fromEntries(groups.map(({ name, choices }) => [name, choices[0]!.name] as const));
  const discrete = Object.fromEntries(
    Object.entries(probabilities).map(([name, each]) => [name, { choice: read[name], probabilities: each }]),
  );
  const likely = Object.fromEntries(
    Object.entries(probabilities).map(([name, each]) => [
      name,
      Object.keys(each).filter((choice) => each[choice]! > 0.1),
    ]),
  );
  const character = { discrete, likely } as unknown as Character;
  const doubts = doubtsOf({ groups } as unknown as Schema, character);
  return candidatesOf(doubts, character).map((each) => [...each.values()].map(({ name }) => name).join(" "));
}

describe("candidates", () => {
  it("begin with what was read, then what differs most, and leave out what is hardly seen", () => {
    expect(candidates(PROBABILITIES)).toEqual(["short stubble", "crew none", "crew stubble"]);
  });

  it("are none where only small things are in doubt", () => {
    expect(candidates({ brows: PROBABILITIES.brows, skin: PROBABILITIES.skin })).toEqual([]);
  });
});

describe("a box around a face", () => {
  it("is larger by a share of its longer side, and stays in the picture", () => {
    expect(around([10, 20, 110, 220], 0.5, { width: 180, height: 1000 })).toEqual([0, 0, 180, 320]);
  });
});
