/** The shape of a piece's meshes for given target weights: vertices as sums of sparse moves, normals of the result. */

import type { Mesh, Target } from "./glb";

// Weights are compared with those of the shape that is there; a smaller difference is none.
const STILL = 1e-6;

/** Triangles and their normals, as they are drawn. */
export interface DrawnMesh {
  /** [3 * n] metres. */
  readonly positions: Float32Array;
  readonly normals: Float32Array;
  /** [2 * n], or empty. */
  readonly uvs: Float32Array;
  readonly triangles: Uint32Array;
  /** [n] vertices with one number are one point of the surface. */
  readonly sources: ArrayLike<number>;
}

/** One mesh whose vertices follow weights. Only targets whose weight changed are added, and only where they move. */
export class MorphedMesh implements DrawnMesh {
  readonly positions: Float32Array;
  readonly normals: Float32Array;
  // In double precision, so that thousands of small steps add up to what one large one gives.
  private readonly sums: Float64Array;
  private readonly applied = new Map<string, number>();

  constructor(readonly mesh: Mesh) {
    this.positions = Float32Array.from(mesh.positions);
    this.normals = new Float32Array(mesh.positions.length);
    this.sums = Float64Array.from(mesh.positions);
  }

  get uvs(): Float32Array {
    return this.mesh.uvs;
  }

  get triangles(): Uint32Array {
    return this.mesh.triangles;
  }

  get sources(): Uint32Array {
    return this.mesh.sources;
  }

  /** Take on the weights; a target without one weighs 0. True when vertices moved. */
  follow(weights: ReadonlyMap<string, number>): boolean {
    let moved = false;
    for (const target of this.mesh.targets) {
      const weight = weights.get(target.name) ?? 0;
      const change = weight - (this.applied.get(target.name) ?? 0);
      if (Math.abs(change) < STILL) continue;
      this.applied.set(target.name, weight);
      this.add(target, change);
      moved = true;
    }
    return moved;
  }

  private add({ vertices, moves }: Target, change: number): void {
    const { sums, positions } = this;
    for (let at = 0; at < vertices.length; at++) {
      const [from, to] = [3 * at, 3 * vertices[at]!];
      for (let axis = 0; axis < 3; axis++) {
        const value = sums[to + axis]! + change * moves[from + axis]!;
        sums[to + axis] = value;
        positions[to + axis] = value;
      }
    }
  }
}

/** Normals of several meshes that may share points: a vertex on a seam, or where two meshes meet, has one normal. */
export class SharedNormals {
  private readonly points: Uint32Array[];
  private readonly sums: Float64Array;

  constructor(private readonly meshes: readonly DrawnMesh[]) {
    const numbers = new Map<number, number>();
    this.points = meshes.map(({ sources }) =>
      Uint32Array.from(sources, (source) => {
        if (!numbers.has(source)) numbers.set(source, numbers.size);
        return numbers.get(source)!;
      }),
    );
    this.sums = new Float64Array(3 * numbers.size);
  }

  /** Write unit normals, the mean of the triangles around each point by area, into every mesh. */
  update(): void {
    this.sums.fill(0);
    this.meshes.forEach((mesh, number) => addTriangles(this.sums, mesh, this.points[number]!));
    const { sums } = this;
    for (let at = 0; at < sums.length; at += 3) {
      const length = Math.hypot(sums[at]!, sums[at + 1]!, sums[at + 2]!) || 1;
      for (let axis = at; axis < at + 3; axis++) sums[axis] = sums[axis]! / length;
    }
    this.meshes.forEach(({ normals }, number) => {
      const points = this.points[number]!;
      for (let at = 0; at < points.length; at++) {
        for (let axis = 0; axis < 3; axis++) normals[3 * at + axis] = sums[3 * points[at]! + axis]!;
      }
    });
  }
}

function addTriangles(sums: Float64Array, { triangles, positions: p }: DrawnMesh, points: Uint32Array): void {
  for (let at = 0; at < triangles.length; at += 3) {
    const [i, j, k] = [triangles[at]!, triangles[at + 1]!, triangles[at + 2]!];
    const [a, b, c] = [3 * i, 3 * j, 3 * k];
    const [ux, uy, uz] = [p[b]! - p[a]!, p[b + 1]! - p[a + 1]!, p[b + 2]! - p[a + 2]!];
    const [vx, vy, vz] = [p[c]! - p[a]!, p[c + 1]! - p[a + 1]!, p[c + 2]! - p[a + 2]!];
    const [nx, ny, nz] = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
    for (const point of [points[i]!, points[j]!, points[k]!]) {
      sums[3 * point]! += nx;
      sums[3 * point + 1]! += ny;
      sums[3 * point + 2]! += nz;
    }
  }
}
