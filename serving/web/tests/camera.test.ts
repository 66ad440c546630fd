import { describe, expect, it } from "vitest";

import { lightOf } from "../src/ui/lightMeter";

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
    expect(lightOf(picture(left, right, around), 40, 50)).toBe(light);
  });
});
