import { describe, expect, it } from "vitest";

import type { Schema } from "../src/api/schema";
import { cartoon, shuffled, softened, symmetric } from "../src/edit/directions";

const slider = (name: string, part: string, positive: string | null = `${name}+`) => ({
  name,
  part,
  neutral: 0.5,
  positive,
});
const SCHEMA = {
  sliders: [
    slider("nose", "nose"),
    slider("jaw", "chin"),
    slider("age", "phenotype", null),
    slider("tilt", "asymmetry"),
  ],
  groups: [{ name: "hair", part: "hair" }],
} as unknown as Schema;
const NOW = { parameters: { nose: 0.7, jaw: 0.9, age: 0.8, tilt: 0.6 }, discrete: { hair: "bob" } };
const OTHER = { parameters: { nose: 0.1, jaw: 0.2, age: 0.3, tilt: 0.4 }, discrete: { hair: "afro" } };

function values({ parameters }: { parameters: Readonly<Record<string, number>> }): number[] {
  return Object.values(parameters).map((value) => Math.round(100 * value) / 100);
}

describe("directions", () => {
  it("exaggerate shapes as far as they go, and leave alone who the person is", () => {
    expect(values(cartoon(SCHEMA, NOW))).toEqual([0.78, 1, 0.8, 0.64]);
  });

  it("bring shapes nearer to the average", () => {
    expect(values(softened(SCHEMA, NOW))).toEqual([0.64, 0.78, 0.8, 0.57]);
  });

  it("make both sides alike", () => {
    expect(values(symmetric(SCHEMA, NOW))).toEqual([0.7, 0.9, 0.8, 0.5]);
  });

  it("shuffle what is not kept", () => {
    const mixed = shuffled(SCHEMA, NOW, OTHER, new Set(["hair", "nose"]));
    expect(mixed).toEqual({ parameters: { nose: 0.7, jaw: 0.2, age: 0.3, tilt: 0.4 }, discrete: { hair: "bob" } });
  });
});
