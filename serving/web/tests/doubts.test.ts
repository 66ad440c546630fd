import { describe, expect, it } from "vitest";

import type { Character } from "../src/api/client";
import type { Schema } from "../src/api/schema";
import { doubtsOf } from "../src/edit/doubts";

const group = (name: string, ...choices: string[]) => ({ name, choices: choices.map((choice) => ({ name: choice })) });
const SCHEMA = {
  groups: [group("skin", "light", "dark"), group("hair", "bald", "short", "bob", "long", "afro", "braid")],
} as unknown as Schema;
const READ = { parameters: {}, discrete: { skin: "light", hair: "bob" } };

function likelyOf(discrete: Record<string, Record<string, number>>): Record<string, string[]> {
  const said = Object.entries(discrete).map(([name, probabilities]) => [name, { probabilities }]);
  const character = { discrete: Object.fromEntries(said) } as unknown as Character;
  const found = doubtsOf(SCHEMA, character, READ);
  return Object.fromEntries(found.map((doubt) => [doubt.group.name, doubt.likely.map(({ name }) => name)]));
}

describe("doubts", () => {
  it("are groups of which another choice is likely, the likeliest first", () => {
    const hair = { bald: 0.01, short: 0.2, bob: 0.4, long: 0.3, afro: 0.09, braid: 0 };
    expect(likelyOf({ skin: { light: 0.97, dark: 0.03 }, hair })).toEqual({ hair: ["bob", "long", "short"] });
  });

  it("begin with what was taken, however unlikely it is by itself", () => {
    expect(likelyOf({ hair: { short: 0.3, bob: 0.05, long: 0.2 } })).toEqual({ hair: ["bob", "short", "long"] });
  });

  it("are four choices at most", () => {
    const hair = { bald: 0.16, short: 0.17, bob: 0.18, long: 0.19, afro: 0.15, braid: 0.15 };
    expect(likelyOf({ hair })["hair"]).toEqual(["bob", "long", "short", "bald"]);
  });

  it("are none where nothing is known of the probabilities", () => {
    expect(likelyOf({})).toEqual({});
  });
});
