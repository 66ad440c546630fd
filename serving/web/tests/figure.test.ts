import { describe, expect, it } from "vitest";

import { pictureAddress, pieceAddress } from "../src/figure/addresses";
import type { Mesh } from "../src/figure/glb";
import { MorphedMesh, SharedNormals } from "../src/figure/morphs";
import { RoundedSurface } from "../src/figure/rounding";

const SURFACE = {
  name: "skin",
  colour: [1, 1, 1],
  roughness: 1,
  metalness: 0,
  opacity: 1,
  alpha: "OPAQUE",
  alphaCutoff: 0.5,
  doubleSided: false,
} as const;

/** Two triangles of the plane z = 0 that share an edge, whose vertices are split as at a texture's seam. */
function square(): Mesh {
  return {
    name: "square",
    surface: SURFACE,
    positions: Float32Array.from([0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0]),
    uvs: new Float32Array(),
    sources: Uint32Array.from([0, 1, 2, 0, 2, 3]),
    triangles: Uint32Array.from([0, 1, 2, 3, 4, 5]),
    targets: [
      { name: "lift", vertices: Uint32Array.from([5]), moves: Float32Array.from([0, 0, 1]) },
      { name: "push", vertices: Uint32Array.from([0, 3]), moves: Float32Array.from([-1, 0, 0, -1, 0, 0]) },
    ],
  };
}

describe("a morphed mesh", () => {
  it("moves only the vertices of targets whose weight changed", () => {
    const mesh = new MorphedMesh(square());
    expect(mesh.follow(new Map([["lift", 0.5]]))).toBe(true);
    expect([...mesh.positions.subarray(15)]).toEqual([0, 1, 0.5]);
    expect([...mesh.positions.subarray(0, 15)]).toEqual([...square().positions.subarray(0, 15)]);
    expect(mesh.follow(new Map([["lift", 0.5]]))).toBe(false);
  });

  it("comes back after thousands of small steps", () => {
    const mesh = new MorphedMesh(square());
    for (let step = 0; step <= 5000; step++) mesh.follow(new Map([["push", Math.sin(step / 7)]]));
    mesh.follow(new Map());
    square().positions.forEach((position, at) => expect(mesh.positions[at]).toBeCloseTo(position, 12));
  });
});

describe("normals", () => {
  it("are one on both sides of a seam", () => {
    const mesh = new MorphedMesh(square());
    mesh.follow(new Map([["lift", 1]]));
    new SharedNormals([mesh]).update();
    const normal = (vertex: number) => [...mesh.normals.subarray(3 * vertex, 3 * vertex + 3)];
    expect(normal(0)).toEqual(normal(3));
    expect(normal(2)).toEqual(normal(4));
    expect(Math.hypot(...normal(0))).toBeCloseTo(1);
    expect(normal(1)).toEqual([0, 0, 1]);
  });
});

type Point = readonly [number, number, number];

const between = (a: Point, b: Point): Point => {
  const [x, y, z] = [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
  const length = Math.hypot(x, y, z);
  return [x / length, y / length, z / length];
};

/** A unit sphere of 128 triangles that share no vertices, as at seams everywhere. */
function sphere(): Mesh {
  let triangles: [Point, Point, Point][] = [1, -1].flatMap((x) =>
    [1, -1].flatMap((y) =>
      [1, -1].map((z): [Point, Point, Point] => {
        const ends: [Point, Point] = [[x, 0, 0], [0, y, 0]]; // prettier-ignore
        // Seen from outside, they run anticlockwise.
        return x * y * z > 0 ? [...ends, [0, 0, z]] : [ends[1], ends[0], [0, 0, z]];
      }),
    ),
  );
  for (let level = 0; level < 2; level++) {
    triangles = triangles.flatMap(([a, b, c]): [Point, Point, Point][] => {
      const [ab, bc, ca] = [between(a, b), between(b, c), between(c, a)];
      return [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]; // prettier-ignore
    });
  }
  const corners = triangles.flat();
  const names = corners.map((corner) =>
    corner.map((value) => value.toFixed(6).replace("-0.000000", "0.000000")).join(),
  );
  const numbers = new Map([...new Set(names)].map((name, at) => [name, at]));
  return {
    ...square(),
    positions: Float32Array.from(corners.flat()),
    uvs: Float32Array.from(corners.flatMap((_, at) => [at, 2 * at])),
    sources: Uint32Array.from(names.map((name) => numbers.get(name)!)),
    triangles: Uint32Array.from(corners.map((_, at) => at)),
    targets: [],
  };
}

describe("a rounded surface", () => {
  const rounded = (...meshes: Mesh[]) => {
    const shapes = meshes.map((mesh) => new MorphedMesh(mesh));
    const surface = new RoundedSurface(shapes);
    surface.update();
    return { shapes, surface, drawn: surface.drawn[0]! };
  };
  const lengths = (vectors: Float32Array) =>
    Array.from({ length: vectors.length / 3 }, (_, at) => Math.hypot(...vectors.subarray(3 * at, 3 * at + 3)));

  it("has four triangles for one, and its vertices stay", () => {
    const { drawn } = rounded(sphere());
    expect(drawn.triangles.length).toBe(4 * 3 * 128);
    expect([...drawn.positions.subarray(0, 9 * 128)]).toEqual([...sphere().positions]);
  });

  it("is nearer to the sphere that the mesh was taken from", () => {
    const { drawn } = rounded(sphere());
    const middles = lengths(drawn.positions).slice(3 * 128);
    // Those of straight edges lie at 0.95 to 0.98.
    expect(Math.min(...middles)).toBeGreaterThan(0.98);
    expect(Math.max(...middles)).toBeLessThan(1.005);
    for (const [at, length] of lengths(drawn.normals).entries()) {
      expect(length).toBeCloseTo(1, 5);
      const normal = drawn.normals.subarray(3 * at, 3 * at + 3);
      const position = drawn.positions.subarray(3 * at, 3 * at + 3);
      expect(normal.reduce((sum, value, axis) => sum + value * position[axis]!, 0)).toBeGreaterThan(0.98);
    }
  });

  it("does not come apart at seams", () => {
    const { drawn } = rounded(sphere());
    const points = new Map<number, string>();
    for (let at = 0; at < drawn.sources.length; at++) {
      const here = Array.from(drawn.positions.subarray(3 * at, 3 * at + 3), (value) => value.toFixed(6)).join();
      const source = drawn.sources[at]!;
      expect(points.get(source) ?? here).toBe(here);
      points.set(source, here);
    }
    expect(points.size).toBe(66 + 192);
  });

  it("is flat where the mesh is, and has the middles of its texture coordinates", () => {
    const { drawn } = rounded(square());
    expect([...drawn.positions].filter((_, at) => at % 3 === 2)).toEqual(Array(12).fill(0));
    const { uvs } = rounded(sphere()).drawn;
    expect([...uvs.subarray(6 * 128, 6 * 128 + 6)]).toEqual([0.5, 1, 1.5, 3, 1, 2]);
  });

  it("follows a slider", () => {
    const { shapes, surface, drawn } = rounded(square());
    shapes[0]!.follow(new Map([["lift", 1]]));
    surface.update();
    const heights = drawn.positions.subarray(18).filter((_, at) => at % 3 === 2);
    expect(Math.max(...heights)).toBeGreaterThan(0.4);
  });

  it("leaves hard things as they are", () => {
    const { shapes, drawn } = rounded({ ...sphere(), surface: { ...SURFACE, name: "glasses" } });
    expect(drawn).toBe(shapes[0]);
  });
});

describe("addresses", () => {
  const settings = { parameters: { age: 0.237 }, discrete: { hair: "none", skin: "tone4" } };
  const hair = { name: "hair", url: "/hair.glb?v=1", group: "hair", absent: ["none"], meshes: ["hair"] };

  it("name the choice, and nothing for a choice without geometry", () => {
    expect(pieceAddress(hair, settings)).toBeNull();
    expect(pieceAddress(hair, { ...settings, discrete: { hair: "bob01" } })).toBe("/hair.glb?v=1&hair=bob01");
    expect(pieceAddress({ ...hair, group: null }, settings)).toBe("/hair.glb?v=1");
  });

  it("of pictures have sliders rounded to the picture's steps", () => {
    const skin = {
      name: "skin",
      url: "/skin.jpg",
      use: "base_colour" as const,
      materials: ["skin"],
      groups: ["skin"],
      sliders: [{ name: "age", step: 0.05 }],
      absent: { hair: ["bob01"] },
    };
    expect(pictureAddress(skin, settings)).toBe("/skin.jpg?skin=tone4&age=0.25");
    expect(pictureAddress(skin, { ...settings, discrete: { hair: "bob01" } })).toBeNull();
  });
});
