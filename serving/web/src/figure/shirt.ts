/**
 * A plain shirt over the bust: a grid around the neck that lies on the skin, follows every slider with it, and goes on
 * below where the bust ends. Metres from between the eyes; nothing of it is fetched.
 */

import type { Mesh } from "./glb";
import { SharedNormals, type DrawnMesh, type MorphedMesh } from "./morphs";

const AROUND = 64;
/** Between the shoulders: from here each place of neck and bust is seen once. */
const AXIS = [0, -0.2, -0.1] as const;
/** The collar lies in a plane that falls to the front. */
const COLLAR = { height: -0.134, slope: -0.3 };
/** How far below that plane each ring of the collar is, and how far from the skin: a band, then a seam, then cloth. */
const BAND: readonly (readonly [number, number])[] = [
  [0.006, 0.0004],
  [0.001, 0.0012],
  [0, 0.003],
  [0.001, 0.0044],
  [0.005, 0.005],
  [0.0105, 0.0046],
  [0.0125, 0.0034],
  [0.0145, 0.0042],
];
/** Rings of cloth on the bust, and below it, with how far from the skin they are. */
const ON_BUST = 7;
const BELOW = 14;
const CLOTH = 0.0048;
const BESIDE = [-3, -2, -1, 0, 1, 2, 3];
/** Where it ends: half the width and the depth of a body, and its middle. */
const BODY = { y: -0.4, width: 0.215, depth: 0.11, middle: -0.11 };
const STILL = 1e-6;
/** How far under the collar's edge skin is no longer drawn. */
const HIDDEN = 0.004;
/** Angles above level of the looks for the skin, radians: from the neck down to the bust's end. */
const LOOKS = Array.from({ length: 52 }, (_, at) => 1.25 - 0.025 * at);
const HALVINGS = 5;

/** A place on the skin: corners of a triangle, and what each of them weighs. */
interface Place {
  corners: readonly [number, number, number];
  weights: readonly [number, number, number];
  under: number;
}

/** How far under the collar's edge places are: [n] metres, positive below. */
export function underCollar(positions: Float32Array): Float32Array {
  return Float32Array.from(
    { length: positions.length / 3 },
    (_, at) => under(positions[3 * at + 1]!, positions[3 * at + 2]!) - HIDDEN,
  );
}

function under(y: number, z: number): number {
  return COLLAR.height + COLLAR.slope * (z - AXIS[2]) - y;
}

export class Shirt implements DrawnMesh {
  readonly positions: Float32Array;
  readonly normals: Float32Array;
  readonly uvs = new Float32Array();
  readonly triangles: Uint32Array;
  readonly sources: Uint32Array;
  /** [3 * n] the band of the collar is a little darker. */
  readonly shades: Float32Array;
  private readonly places: (readonly Place[])[];
  private readonly surface: SharedNormals;

  /** @returns null for a mesh that is no bust: there is nothing below the collar. */
  static on(skin: MorphedMesh): Shirt | null {
    const found = profiles(skin.mesh);
    return found === null ? null : new Shirt(skin, found);
  }

  private constructor(
    private readonly skin: MorphedMesh,
    places: (readonly Place[])[],
  ) {
    this.places = places;
    const rings = BAND.length + ON_BUST + BELOW;
    this.positions = new Float32Array(3 * AROUND * rings);
    this.normals = new Float32Array(3 * AROUND * rings);
    this.sources = Uint32Array.from({ length: AROUND * rings }, (_, at) => at);
    this.shades = Float32Array.from({ length: 3 * AROUND * rings }, (_, at) => shadeOf(Math.floor(at / 3 / AROUND)));
    this.triangles = gridTriangles(rings);
    this.surface = new SharedNormals([this]);
  }

  /** Follow the skin, whose normals are up to date. True when it moved: few sliders move neck and shoulders. */
  update(): boolean {
    const { skin, positions } = this;
    let moved = false;
    const onSkin = BAND.length + ON_BUST;
    for (let ring = 0; ring < onSkin; ring++) {
      const away = BAND[ring]?.[1] ?? CLOTH;
      for (let at = 0; at < AROUND; at++) {
        const { corners, weights } = this.places[ring]![at]!;
        const to = 3 * (ring * AROUND + at);
        for (let axis = 0; axis < 3; axis++) {
          let value = 0;
          for (let corner = 0; corner < 3; corner++) {
            const from = 3 * corners[corner]! + axis;
            value += weights[corner]! * (skin.positions[from]! + away * skin.normals[from]!);
          }
          moved ||= Math.abs(value - positions[to + axis]!) > STILL;
          positions[to + axis] = value;
        }
      }
    }
    if (!moved) return false;
    for (let at = 0; at < AROUND; at++) this.hang(onSkin, at);
    this.surface.update();
    return true;
  }

  /** From the bust's end on in a curve to where a body is, and straight down there. */
  private hang(onSkin: number, at: number): void {
    const { positions } = this;
    const body = bodyAt(at);
    const last = (onSkin - 1) * AROUND;
    const from = [0, 1, 2].map((axis) => positions[3 * (last + at) + axis]!);
    // As it goes on over two rings, and as beside it: one crooked triangle of the bust would be a crease to the end.
    const leaves = [0, 1, 2].map((axis) =>
      BESIDE.reduce((sum, step) => {
        const place = (at + step + AROUND) % AROUND;
        return sum + positions[3 * (last + place) + axis]! - positions[3 * (last - 2 * AROUND + place) + axis]!;
      }, 0),
    );
    const far = Math.hypot(...from.map((value, axis) => body[axis]! - value));
    const speed = far / (Math.hypot(...leaves) || 1);
    for (let ring = 1; ring <= BELOW; ring++) {
      const share = ring / BELOW;
      const [a, b, c, d] = hermite(share);
      const to = 3 * ((onSkin + ring - 1) * AROUND + at);
      for (let axis = 0; axis < 3; axis++) {
        const arrives = axis === 1 ? -far : 0;
        positions[to + axis] = a * from[axis]! + b * speed * leaves[axis]! + c * body[axis]! + d * arrives;
      }
    }
  }
}

function shadeOf(ring: number): number {
  if (ring >= BAND.length) return 1;
  // The seam below the band, then the band.
  return ring === BAND.length - 2 ? 0.6 : 0.88;
}

function bodyAt(at: number): [number, number, number] {
  const angle = (2 * Math.PI * at) / AROUND;
  const round = (value: number): number => Math.sign(value) * Math.abs(value) ** 0.8;
  return [BODY.width * round(Math.cos(angle)), BODY.y, BODY.middle + BODY.depth * round(Math.sin(angle))];
}

function hermite(share: number): [number, number, number, number] {
  const [square, cube] = [share ** 2, share ** 3];
  return [2 * cube - 3 * square + 1, cube - 2 * square + share, 3 * square - 2 * cube, cube - square];
}

function gridTriangles(rings: number): Uint32Array {
  const triangles: number[] = [];
  for (let ring = 0; ring + 1 < rings; ring++) {
    for (let at = 0; at < AROUND; at++) {
      const next = (at + 1) % AROUND;
      const [a, b] = [ring * AROUND + at, ring * AROUND + next];
      triangles.push(a, b, a + AROUND, b, b + AROUND, a + AROUND);
    }
  }
  return Uint32Array.from(triangles);
}

/** Of each ring that lies on the skin, its places around the neck. */
function profiles({ positions, triangles }: Mesh): (readonly Place[])[] | null {
  const near = nearby(positions, triangles);
  const look = (at: number, up: number): Place | null => {
    const angle = (2 * Math.PI * at) / AROUND;
    const way = [Math.cos(angle) * Math.cos(up), Math.sin(up), Math.sin(angle) * Math.cos(up)] as const;
    return firstHit(positions, near[at]!, way);
  };
  const seen = near.map((_, at) =>
    LOOKS.flatMap((up) => {
      const place = look(at, up);
      return place === null ? [] : [{ up, place }];
    }),
  );
  const first = BAND.at(-1)![0];
  // The bust ends in steps: the shirt leaves it a little before, all around as smoothly as the ends allow.
  const ends = smoothed(seen.map((places) => Math.max(-1, ...places.map(({ place }) => place.under)) - 0.004));
  if (ends.some((end) => end < first + 0.004)) return null;
  /** As far under the collar as wanted: between two looks, found by halving. */
  const placeAt = (at: number, wanted: number): Place => {
    const next = Math.max(
      1,
      seen[at]!.findIndex(({ place }) => place.under > wanted),
    );
    let [high, low] = [seen[at]![next - 1]!, seen[at]![next]!];
    for (let times = 0; times < HALVINGS; times++) {
      const up = (high.up + low.up) / 2;
      const place = look(at, up);
      if (place === null) break;
      if (place.under > wanted) low = { up, place };
      else high = { up, place };
    }
    return low.place;
  };
  return Array.from({ length: BAND.length + ON_BUST }, (_, ring) =>
    near.map((_, at) => {
      const share = (ring - BAND.length + 1) / ON_BUST;
      return placeAt(at, BAND[ring]?.[0] ?? first + (ends[at]! - first) * share);
    }),
  );
}

function smoothed(values: readonly number[]): number[] {
  const at = (index: number): number => values[(index + values.length) % values.length]!;
  const least = values.map((_, index) => Math.min(...[-2, -1, 0, 1, 2].map((step) => at(index + step))));
  const of = (index: number): number => least[(index + least.length) % least.length]!;
  return least.map((_, index) => [-2, -1, 0, 1, 2].reduce((sum, step) => sum + of(index + step), 0) / 5);
}

/** For each angle the triangles that may be there: corners as numbers of vertices. */
function nearby(positions: Float32Array, triangles: Uint32Array): number[][] {
  const found: number[][] = Array.from({ length: AROUND }, () => []);
  const angleOf = (vertex: number): number =>
    (Math.atan2(positions[3 * vertex + 2]! - AXIS[2], positions[3 * vertex]!) / (2 * Math.PI)) * AROUND;
  for (let at = 0; at < triangles.length; at += 3) {
    const corners = [triangles[at]!, triangles[at + 1]!, triangles[at + 2]!];
    if (corners.every((vertex) => positions[3 * vertex + 1]! > COLLAR.height + 0.08)) continue;
    const first = angleOf(corners[0]!);
    const turns = corners.map((vertex) => {
      const turn = angleOf(vertex) - first;
      return turn - AROUND * Math.round(turn / AROUND);
    });
    const [from, to] = [Math.floor(first + Math.min(...turns)), Math.ceil(first + Math.max(...turns))];
    for (let angle = from; angle <= to; angle++) found[((angle % AROUND) + AROUND) % AROUND]!.push(...corners);
  }
  return found;
}

/** Where a ray from the axis meets the skin first (Möller and Trumbore 1997); null: nowhere. */
function firstHit(p: Float32Array, corners: readonly number[], way: readonly [number, number, number]): Place | null {
  let [nearest, found]: [number, Place | null] = [Infinity, null];
  for (let at = 0; at < corners.length; at += 3) {
    const [i, j, k] = [corners[at]!, corners[at + 1]!, corners[at + 2]!];
    const [a, b, c] = [3 * i, 3 * j, 3 * k];
    const first = [p[b]! - p[a]!, p[b + 1]! - p[a + 1]!, p[b + 2]! - p[a + 2]!] as const;
    const second = [p[c]! - p[a]!, p[c + 1]! - p[a + 1]!, p[c + 2]! - p[a + 2]!] as const;
    const across = cross(way, second);
    const determinant = dot(first, across);
    if (Math.abs(determinant) < 1e-12) continue;
    const apart = [AXIS[0] - p[a]!, AXIS[1] - p[a + 1]!, AXIS[2] - p[a + 2]!] as const;
    const u = dot(apart, across) / determinant;
    const turned = cross(apart, first);
    const v = dot(way, turned) / determinant;
    const distance = dot(second, turned) / determinant;
    if (u < 0 || v < 0 || u + v > 1 || distance <= 0 || distance >= nearest) continue;
    nearest = distance;
    const [y, z] = [AXIS[1] + distance * way[1], AXIS[2] + distance * way[2]];
    found = { corners: [i, j, k], weights: [1 - u - v, u, v], under: under(y, z) };
  }
  return found;
}

type Vector = readonly [number, number, number];

function cross(a: Vector, b: Vector): [number, number, number] {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

function dot(a: Vector, b: Vector): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}
