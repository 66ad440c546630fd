import { describe, expect, it } from "vitest";

import { AutoShutter } from "../src/ui/autoShutter";
import { faceIn } from "../src/ui/faceFilter";
import { greyOf, lightOf } from "../src/ui/lightMeter";

/** A face in an oval of 40 x 50 pixels: grey values of its left and right half, and of what is around it. */
function picture(left: number, right: number, around: number): Uint8ClampedArray {
  const pixels = new Uint8ClampedArray(4 * 40 * 50);
  for (let at = 0; at < 40 * 50; at++) {
    const [x, y] = [at % 40, Math.floor(at / 40)];
    const inside = ((x - 19.5) / 12) ** 2 + ((y - 23.5) / 19) ** 2 < 1;
    pixels.fill(inside ? (x < 20 ? left : right) : around, 4 * at, 4 * at + 3);
  }
  return pixels;
}

describe("the light on a face", () => {
  it.each([
    [150, 140, 120, "good"],
    [30, 30, 30, "dark"],
    [250, 250, 200, "bright"],
    [70, 70, 230, "backlit"],
    [190, 80, 120, "one-sided"],
  ])("of %i and %i before %i is %s", (left, right, around, light) => {
    expect(lightOf(greyOf(picture(left, right, around)), 40, 50)).toBe(light);
  });
});

describe("the place of a face", () => {
  it("is none where there is no face", () => {
    expect(faceIn(new Float32Array(64 * 80).fill(0.5), 64, 80)).toBe("none");
    const slope = Float32Array.from({ length: 64 * 80 }, (_, at) => (at % 64) / 64);
    expect(faceIn(slope, 64, 80)).toBe("none");
  });
});

describe("the shutter by itself", () => {
  const still = new Float32Array(4).fill(0.5);
  const moved = new Float32Array(4).fill(0.9);
  const looks = (shutter: AutoShutter, times: number, isWell: boolean, from = 0): number[] =>
    Array.from({ length: times }, (_, at) => shutter.look(from + 200 * at, isWell, still));

  it("counts down while all is well, to its end", () => {
    const shares = looks(new AutoShutter(), 10, true);
    expect(shares.slice(0, 3)).toEqual([0, 0, 0]);
    expect(shares[5]).toBeGreaterThan(0);
    expect(shares.at(-1)).toBe(1);
  });

  it("begins anew once something is not well, or somebody moves", () => {
    const shutter = new AutoShutter();
    expect(looks(shutter, 6, true).at(-1)).toBeGreaterThan(0);
    expect(shutter.look(1200, false, still)).toBe(0);
    expect(looks(shutter, 6, true, 1400).at(-1)).toBeGreaterThan(0);
    expect(shutter.look(2600, true, moved)).toBe(0);
    expect(shutter.look(2800, true, moved)).toBe(0);
  });
});
