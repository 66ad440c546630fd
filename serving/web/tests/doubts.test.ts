import { describe, expect, it } from "vitest";

import type { Schema } from "../src/api/schema";
import { doubtsOf } from "../src/edit/doubts";

const group = (name: string, ...choices: string[]) => ({ name, choices: choices.map((choice) => ({ name: choice })) });
const SCHEMA = { groups: [group("skin", "light", "dark"), group("hair", "bald", "short", "bob")] } as unknown as Schema;

function doubts(likely: Record<string, string[]>): Record<string, string[]> {
  const found = doubtsOf(SCHEMA, { likely });
  return Object.fromEntries(found.map((doubt) => [doubt.group.name, doubt.likely.map(({ name }) => name)]));
}

describe("doubts", () => {
  it("are those of the service, in its order", () => {
    expect(doubts({ hair: ["short", "bald"] })).toEqual({ hair: ["short", "bald"] });
  });

  it("leave out what the character creator has no more", () => {
    expect(doubts({ hair: ["short", "mohawk", "bob"], skin: ["light", "green"], tail: ["long", "none"] })).toEqual({
      hair: ["short", "bob"],
    });
  });

  it("are none where the service has none", () => {
    expect(doubtsOf(SCHEMA, {})).toEqual([]);
  });
});
