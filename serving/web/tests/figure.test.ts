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

/** A unit sphere's octahedron, whose eight triangles share no vertices, as at seams everywhere. */
function octahedron(): Mesh {
  const corners = [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
    [-1, 0, 0],
    [0, -1, 0],
    [0, 0, -1],
  ];
  // Seen from outside, they run anticlockwise.
  const faces = [0, 1, 2, 1, 3, 2, 3, 4, 2, 4, 0, 2, 1, 0, 5, 3, 1, 5, 4, 3, 5, 0, 4, 5];
  return {
    ...square(),
    positions: Float32Array.from(faces.flatMap((corner) => corners[corner]!)),
    uvs: Float32Array.from(faces.flatMap((_, at) => [at, 2 * at])),
    sources: Uint32Array.from(faces),
    triangles: Uint32Array.from(faces.map((_, at) => at)),
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
    const { drawn } = rounded(octahedron());
    expect(drawn.triangles.length).toBe(4 * 24);
    expect([...drawn.positions.subarray(0, 72)]).toEqual([...octahedron().positions]);
  });

  it("is nearer to the sphere that the mesh was taken from", () => {
    const { drawn } = rounded(octahedron());
    const middles = lengths(drawn.positions).slice(24);
    // Of edges at right angles, whose middles lie at 0.71.
    expect(Math.min(...middles)).toBeGreaterThan(0.88);
    expect(Math.max(...middles)).toBeLessThan(1);
    for (const [at, length] of lengths(drawn.normals).entries()) {
      expect(length).toBeCloseTo(1, 5);
      const [normal, position] = [drawn.normals, drawn.positions].map((all) => all.subarray(3 * at, 3 * at + 3));
      expect(normal!.reduce((sum, value, axis) => sum + value * position![axis]!, 0)).toBeGreaterThan(0.88);
    }
  });

  it("does not come apart at seams", () => {
    const { drawn } = rounded(octahedron());
    const points = new Map<number, string>();
    for (let at = 0; at < drawn.sources.length; at++) {
      const [source, here] = [drawn.sources[at]!, [...drawn.positions.subarray(3 * at, 3 * at + 3)].join()];
      expect(points.get(source) ?? here).toBe(here);
      points.set(source, here);
    }
    expect(points.size).toBe(6 + 12);
  });

  it("is flat where the mesh is, and has the middles of its texture coordinates", () => {
    const { drawn } = rounded(square());
    expect([...drawn.positions].filter((_, at) => at % 3 === 2)).toEqual(Array(12).fill(0));
    const { uvs } = rounded(octahedron()).drawn;
    expect([...uvs.subarray(48, 54)]).toEqual([0.5, 1, 1.5, 3, 1, 2]);
  });

  it("follows a slider", () => {
    const { shapes, surface, drawn } = rounded(square());
    shapes[0]!.follow(new Map([["lift", 1]]));
    surface.update();
    expect(Math.max(...drawn.positions.subarray(18).filter((_, at) => at % 3 === 2))).toBeGreaterThan(0.4);
  });

  it("leaves hard things as they are", () => {
    const { shapes, drawn } = rounded({ ...octahedron(), surface: { ...SURFACE, name: "glasses" } });
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
