import { describe, expect, it } from "vitest";

import { pictureAddress, pieceAddress } from "../src/figure/addresses";
import type { Mesh } from "../src/figure/glb";
import { MorphedMesh, SharedNormals } from "../src/figure/morphs";

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
