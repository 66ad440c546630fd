import { describe, expect, it } from "vitest";

import { interpolated, openness, targetWeights, type Basis } from "../src/figure/formula";

const BASIS: Basis = {
  sliders: [
    { name: "sex", neutral: 0.5, reach: 1, negative: null, positive: null },
    { name: "weight", neutral: 0.5, reach: 1, negative: null, positive: null },
    { name: "african", neutral: 0.3333, reach: 1, negative: null, positive: null },
    { name: "asian", neutral: 0.3333, reach: 1, negative: null, positive: null },
    { name: "nose_width", neutral: 0.5, reach: 0.8, negative: "nose_width-", positive: "nose_width+" },
    { name: "head_round", neutral: 0, reach: 1, negative: null, positive: "head_round+" },
  ],
  curves: {
    male: {
      slider: "sex",
      points: [
        [0, 0],
        [1, 1],
      ],
    },
    averageweight: {
      slider: "weight",
      points: [
        [0, 0],
        [0.5, 1],
        [1, 0],
      ],
    },
  },
  shares: { african: "african", asian: "asian" },
  products: { "macro/african-male": ["african", "male"], "macro/male-averageweight": ["male", "averageweight"] },
  lids: {},
};

describe("a blink", () => {
  const lids = { gap: [0.01, 0.008], targets: { wide: [0.002, 0.004], narrow: [-0.02, -0.016] }, limits: [0.5, 1.4] };

  it("weighs as on the template where nothing shapes the eye", () => {
    expect(openness(lids, new Map([["elsewhere", 1]]))).toBe(1);
  });

  it("weighs more on a wider eye, where it is the most open", () => {
    expect(openness(lids, new Map([["wide", 0.5]]))).toBeCloseTo(1.25);
  });

  it("stays within its limits", () => {
    expect(openness(lids, new Map([["wide", 1]]))).toBe(1.4);
    expect(openness(lids, new Map([["narrow", 1]]))).toBe(0.5);
  });
});

describe("target weights", () => {
  it("move one direction of a slider at a time, as far as it reaches", () => {
    const wide = targetWeights(BASIS, { nose_width: 1 });
    expect([wide.get("nose_width+"), wide.get("nose_width-")]).toEqual([0.8, 0]);
    const narrow = targetWeights(BASIS, { nose_width: 0.25 });
    expect([narrow.get("nose_width+"), narrow.get("nose_width-")]).toEqual([0, 0.4]);
  });

  it("are those of neutral where nothing is said", () => {
    const weights = targetWeights(BASIS, {});
    expect(weights.get("nose_width+")).toBe(0);
    expect(weights.get("head_round+")).toBe(0);
    expect(weights.get("macro/male-averageweight")).toBe(0.5);
  });

  it("are finite at the ends of a slider that starts at 0", () => {
    expect(targetWeights(BASIS, { head_round: 1 }).get("head_round+")).toBe(1);
    expect(targetWeights(BASIS, { head_round: 0 }).get("head_round+")).toBe(0);
  });

  it("of a product multiply its factors, shares being parts of their sum", () => {
    const weights = targetWeights(BASIS, { african: 0.6, asian: 0.2, sex: 1, weight: 0.75 });
    expect(weights.get("macro/african-male")).toBeCloseTo(0.75);
    expect(weights.get("macro/male-averageweight")).toBeCloseTo(0.5);
  });

  it("share equally where all shares are 0", () => {
    expect(targetWeights(BASIS, { african: 0, asian: 0, sex: 1 }).get("macro/african-male")).toBe(0.5);
  });
});

describe("a curve", () => {
  it("is linear between its points and constant beyond", () => {
    const points = [
      [0.2, 1],
      [0.4, 3],
    ] as const;
    expect([0, 0.2, 0.3, 0.4, 1].map((x) => interpolated(points, x))).toEqual([1, 1, expect.closeTo(2), 3, 3]);
  });
});
