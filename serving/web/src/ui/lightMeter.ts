/** What the light on a face is like, by the camera's picture: what to tell the person before the photo is taken. */

/** Shares of white. */
const DARK = 0.2;
const BRIGHT = 0.88;
/** The face is darker than what is around it by this factor, or one half of it than the other. */
const BACKLIT = 0.6;
const ONE_SIDED = 0.55;
/** Half the width and half the height of the oval, and how far down its middle is, as shares of the picture's. */
const OVAL = { width: 0.3, height: 0.385, middle: 0.475 };

/** @param pixels RGBA, row by row. */
export function greyOf(pixels: Uint8ClampedArray): Float32Array {
  return Float32Array.from(
    { length: pixels.length / 4 },
    (_, at) => (0.299 * pixels[4 * at]! + 0.587 * pixels[4 * at + 1]! + 0.114 * pixels[4 * at + 2]!) / 255,
  );
}

export type Light = "dark" | "bright" | "backlit" | "one-sided" | "good";

/** @param grey [height * width] row by row, 1 is white: a picture that the oval lies in as in the camera's dialog. */
export function lightOf(grey: Float32Array, width: number, height: number): Light {
  const sums = { left: 0, right: 0, around: 0 };
  const counts = { left: 0, right: 0, around: 0 };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const across = ((x + 0.5) / width - 0.5) / OVAL.width;
      const down = ((y + 0.5) / height - OVAL.middle) / OVAL.height;
      const place = across ** 2 + down ** 2 > 1 ? "around" : across < 0 ? "left" : "right";
      sums[place] += grey[y * width + x]!;
      counts[place] += 1;
    }
  }
  const [left, right, around] = [sums.left / counts.left, sums.right / counts.right, sums.around / counts.around];
  const face = (left + right) / 2;
  if (face < BACKLIT * around && face < 0.4) return "backlit";
  if (face < DARK) return "dark";
  if (face > BRIGHT) return "bright";
  if (Math.min(left, right) < ONE_SIDED * Math.max(left, right)) return "one-sided";
  return "good";
}
