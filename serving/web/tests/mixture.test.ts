import { describe, expect, it } from "vitest";

import type { Slider } from "../src/api/schema";
import { sharesOf } from "../src/ui/mixture";

describe("a mixture", () => {
  const sliders = ["african", "asian", "european"].map((name) => ({ name, neutral: 1 / 3 })) as Slider[];

  it("reads each slider as a share of all", () => {
    const shares = sharesOf(sliders, { parameters: { african: 0.2, asian: 0.2, european: 0.6 }, discrete: {} });
    expect(shares.map((share) => Math.round(100 * share))).toEqual([20, 20, 60]);
  });

  it("is even where all are 0", () => {
    const parameters = { african: 0, asian: 0, european: 0 };
    expect(sharesOf(sliders, { parameters, discrete: {} })).toEqual([1 / 3, 1 / 3, 1 / 3]);
  });
});
