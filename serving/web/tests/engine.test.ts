/**
 * The browser's head beside the engine's own: run by tests/serving/web/test_shape.py, which has the engine write a
 * character into the folder LIKENESS_FIGURE.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, it } from "vitest";

import { possible } from "../src/figure/actions";
import { targetWeights, type Basis } from "../src/figure/formula";
import { readGlb } from "../src/figure/glb";
import { MorphedMesh, SharedNormals } from "../src/figure/morphs";
import { Shirt, underCollar } from "../src/figure/shirt";
import type { Schema } from "../src/api/schema";

const folder = process.env["LIKENESS_FIGURE"];
/** Metres: the files round displacements to a 130 000th. */
const NEAR = 2e-5;
/** The cosine of what normals may differ by, for nearly all of them. */
const PARALLEL = 0.999;
/** Meshes of which the page gets some of the engine's triangles, so that surfaces turn a little elsewhere. */
const SIMPLIFIED: ReadonlySet<string> = new Set(["teeth", "beard"]);

type Points = Record<string, [number, number, number]>;

const json = <T>(name: string): T => JSON.parse(readFileSync(join(folder ?? "", name), "utf8")) as T;

it.skipIf(folder === undefined)("has the engine's vertices and normals", () => {
  const schema = json<Schema>("schema.json");
  const { parameters, pieces } = json<{ parameters: Record<string, number>; pieces: string[] }>("settings.json");
  const expected = json<{ positions: Points; normals: Points }>("expected.json");
  const figure = schema.figure;
  if (figure === null) throw new Error("a figure was to be compared");
  const weights = targetWeights(
    { ...figure, curves: figure.curves as Basis["curves"], sliders: schema.sliders },
    parameters,
  );
  let compared = 0;
  let astray = 0;
  let farthest = 0;
  for (const piece of pieces) {
    const bytes = readFileSync(join(folder ?? "", `${piece}.glb`));
    const meshes = readGlb(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer);
    const shapes = meshes.map((mesh) => new MorphedMesh(mesh));
    for (const shape of shapes) shape.follow(weights);
    new SharedNormals(shapes).update();
    for (const { mesh, positions, normals } of shapes) {
      mesh.sources.forEach((source, vertex) => {
        const [position, normal] = [expected.positions[source], expected.normals[source]];
        if (position === undefined || normal === undefined) throw new Error(`the engine has no vertex ${source}`);
        let cosine = 0;
        for (let axis = 0; axis < 3; axis++) {
          const distance = Math.abs(positions[3 * vertex + axis]! - position[axis]!);
          if (!(distance <= farthest)) farthest = distance; // also what is no number
          cosine += normals[3 * vertex + axis]! * normal[axis]!;
        }
        compared += 1;
        if (cosine < PARALLEL && !SIMPLIFIED.has(mesh.name)) astray += 1;
      });
    }
  }
  expect(compared).toBeGreaterThan(5000);
  expect(farthest).toBeLessThan(NEAR);
  expect(astray / compared).toBeLessThan(0.01);
});

it.skipIf(folder === undefined)("shows of a face's actions what the engine shows", () => {
  const { limits, wanted, shown } = json<
    Record<"wanted" | "shown", Record<string, number>[]> & {
      limits: Record<string, number>;
    }
  >("actions.json");
  wanted.forEach((weights, at) => {
    const found = possible(new Map(Object.entries(weights)), limits);
    for (const [name, weight] of Object.entries(shown[at]!)) expect(found.get(name) ?? 0, name).toBeCloseTo(weight, 5);
  });
});

it.skipIf(folder === undefined)("puts a shirt on the head that follows its sliders", () => {
  const bytes = readFileSync(join(folder ?? "", "head.glb"));
  const meshes = readGlb(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer);
  const shapes = meshes.map((mesh) => new MorphedMesh(mesh));
  const normals = new SharedNormals(shapes);
  normals.update();
  const skin = shapes.find(({ mesh }) => mesh.surface.name === "skin")!;
  const shirt = Shirt.on(skin)!;
  expect(shirt.update()).toBe(true);
  expect(shirt.update()).toBe(false);
  const before = Float32Array.from(shirt.positions);
  expect(before.every(Number.isFinite)).toBe(true);
  // Chin and mouth are never under it, the bust's end always is.
  const lowest = skin.positions.reduce((least, value, at) => (at % 3 === 1 ? Math.min(least, value) : least), 0);
  const under = underCollar(skin.positions);
  under.forEach((value, vertex) => {
    const y = skin.positions[3 * vertex + 1]!;
    if (y > -0.09) expect(value).toBeLessThan(0);
    if (y < lowest + 0.01) expect(value).toBeGreaterThan(0);
  });
  const neck = skin.mesh.targets.find(({ name }) => name.startsWith("neck"))!;
  skin.follow(new Map([[neck.name, 1]]));
  normals.update();
  expect(shirt.update()).toBe(true);
  expect(shirt.positions).not.toEqual(before);
});
