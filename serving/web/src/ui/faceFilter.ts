/** Whether a face is where the camera's oval wants it, by one small linear filter: good enough to guide, and to wait for. */

/**
 * The filter, one signed byte a cell: Fisher's linear discriminant of faces against the same pictures beside the face, and
 * too near or too far, learnt of the embedded engine's portraits. Of 145 real people put into the oval it says so of 78 %,
 * when half out of it of 11 %, when too far of 4 %; 9 ms.
 */
const FILTER =
  "1+bu2eYKDQAB/fnp1BJLOxD2Bik3ANwIHjg1KBYgMjcc8vcB9tzZFTsK2tYBBAn77MiCg+gx54eB0/Tx/wIH9q+i+i8DoKbtC/zvDz1NDeYWMBn2E0MuB+sEJDEQ9AsbBPgaMBj45vIFMTMTEBQGAy84A+bu7gAnJCAGBwUMFST65P30AQ0EEAD9AAQACv3r/fsBAfju7/D8B/38Cv7/A////P8BAfn3/vv8AwgDAf728/f3+P38+fn08PDz8g==";
const [WIDTH, HEIGHT] = [14, 17];
/** Across the filter, in distances between the eyes; and how far below the eyes its middle is. */
const SPAN = 2.5;
/** Of a face; the scale is that of a correlation, up to 1. */
const FACE = 0.3;
/** Of two sizes that are nearly as likely it is the right one: nobody is sent to and fro. */
const IN_DOUBT = 0.03;
/** Distances between the eyes that are looked for, as shares of the picture's width, and what is to be told of each. */
const SIZES: readonly (readonly [number, Place])[] = [
  ...[0.12, 0.14, 0.16].map((size) => [size, "far"] as const),
  ...[0.2, 0.23, 0.26, 0.3].map((size) => [size, "good"] as const),
  ...[0.37, 0.42].map((size) => [size, "near"] as const),
];
/** Where the filter's middle may be, as shares of the picture's width and height. */
const ACROSS = [-0.12, -0.06, 0, 0.06, 0.12].map((share) => 0.5 + share);
const DOWN = [0.38, 0.43, 0.48, 0.53, 0.58, 0.63, 0.68];

export type Place = "far" | "good" | "near" | "none";

/** The filter's cells within an ellipse, from its middle, and their weights. */
const CELLS = cells();
/** A mean and two slopes over the cells, of unit length. */
const PLANES = [() => 1, ({ across }: Cell) => across, ({ down }: Cell) => down].map((plane) => {
  const values = CELLS.map(plane);
  const length = Math.hypot(...values);
  return values.map((value) => value / length);
});
const QUARTERS = [-0.25, 0.25].flatMap((across) => [-0.25, 0.25].map((down) => [across, down] as const));

/** @param grey [height * width] row by row: the picture of the camera's dialog. */
export function faceIn(grey: Float32Array, width: number, height: number): Place {
  let [best, place]: [number, Place] = [FACE, "none"];
  for (const [size, told] of SIZES) {
    const cell = (SPAN * size * width) / WIDTH;
    for (const x of ACROSS) {
      for (const y of DOWN) {
        const likeness = correlation(grey, width, height, x * width, y * height, cell);
        const isFace = likeness > FACE;
        const weighed = likeness + (isFace && told === "good" ? IN_DOUBT : 0);
        if (isFace && weighed > best) [best, place] = [weighed, told];
      }
    }
  }
  return place;
}

function correlation(grey: Float32Array, width: number, height: number, x: number, y: number, cell: number): number {
  const values = CELLS.map(({ across, down }) =>
    sampled(grey, width, height, x + across * cell, y + down * cell, cell),
  );
  // Light from one side is no face: without the mean and the slope of what is seen.
  for (const plane of PLANES) {
    const share = values.reduce((sum, value, at) => sum + value * plane[at]!, 0);
    values.forEach((value, at) => (values[at] = value - share * plane[at]!));
  }
  const length = Math.hypot(...values);
  return length < 1e-3 ? 0 : values.reduce((sum, value, at) => sum + value * CELLS[at]!.weight, 0) / length;
}

/** The mean of four places of a cell. */
function sampled(grey: Float32Array, width: number, height: number, x: number, y: number, cell: number): number {
  let sum = 0;
  for (const [across, down] of QUARTERS) {
    const column = Math.min(width - 1, Math.max(0, Math.round(x + across * cell - 0.5)));
    const row = Math.min(height - 1, Math.max(0, Math.round(y + down * cell - 0.5)));
    sum += grey[row * width + column]!;
  }
  return sum / QUARTERS.length;
}

interface Cell {
  across: number;
  down: number;
  weight: number;
}

function cells(): Cell[] {
  const bytes = Int8Array.from(atob(FILTER), (letter) => letter.charCodeAt(0));
  const length = Math.hypot(...bytes);
  const found: Cell[] = [];
  for (let row = 0; row < HEIGHT; row++) {
    for (let column = 0; column < WIDTH; column++) {
      const [across, down] = [column - (WIDTH - 1) / 2, row - (HEIGHT - 1) / 2];
      if (((2 * across) / WIDTH) ** 2 + ((2 * down) / HEIGHT) ** 2 > 1) continue;
      found.push({ across, down, weight: bytes[found.length]! / length });
    }
  }
  return found;
}
