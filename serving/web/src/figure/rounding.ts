/**
 * Rounder outlines than the triangles of a mesh have: each edge is parted at its middle, which is moved out to the
 * curve that meets the normals at both ends (curved PN triangles; Vlachos, Peters, Boyd and Mitchell 2001).
 *
 * The vertices of the mesh stay where they are, so that what lies on it (brows, lashes, landmarks) still does.
 */

import { SharedNormals, type DrawnMesh, type MorphedMesh } from "./morphs";

/** Materials of soft surfaces. Eyeballs are fine as they are, lashes and brows thin, the frames of glasses straight. */
const ROUND: ReadonlySet<string> = new Set(["skin", "mouth", "hair"]);
/** Above the number of any vertex. */
const VERTICES = 2 ** 24;

/** A mesh with four triangles for each one of another, whose vertices come first. */
class RoundedMesh implements DrawnMesh {
  readonly positions: Float32Array;
  readonly normals: Float32Array;
  readonly uvs: Float32Array;
  readonly triangles: Uint32Array;
  readonly sources: Float64Array;
  /** [2 * e] the ends of the edge whose middle is vertex n + i. */
  private readonly ends: Uint32Array;

  constructor(private readonly coarse: MorphedMesh) {
    const { mesh } = coarse;
    const vertices = mesh.sources.length;
    const { ends, triangles } = parted(mesh.triangles, vertices);
    const edges = ends.length / 2;
    this.ends = ends;
    this.triangles = triangles;
    this.positions = new Float32Array(3 * (vertices + edges));
    this.normals = new Float32Array(3 * (vertices + edges));
    this.uvs = withMiddles(mesh.uvs, ends);
    this.sources = new Float64Array(vertices + edges);
    this.sources.set(mesh.sources);
    for (let edge = 0; edge < edges; edge++) {
      // The middles on both sides of a seam are one point, as the ends are.
      const [a, b] = [mesh.sources[ends[2 * edge]!]!, mesh.sources[ends[2 * edge + 1]!]!];
      this.sources[vertices + edge] = (Math.min(a, b) + 1) * VERTICES + Math.max(a, b);
    }
  }

  /** Follow the other mesh, whose normals are up to date. */
  update(): void {
    const { positions, ends } = this;
    const { positions: p, normals: n } = this.coarse;
    positions.set(p);
    for (let edge = 0, to = p.length; edge < ends.length; edge += 2, to += 3) {
      const [a, b] = [3 * ends[edge]!, 3 * ends[edge + 1]!];
      const [x, y, z] = [p[b]! - p[a]!, p[b + 1]! - p[a + 1]!, p[b + 2]! - p[a + 2]!];
      // A crease is no curve: the more the normals part, the straighter the edge.
      const round = Math.max(n[a]! * n[b]! + n[a + 1]! * n[b + 1]! + n[a + 2]! * n[b + 2]!, 0) ** 2 / 8;
      // How far the edge leaves the surface at each end: nothing where the surface is flat.
      const leaves = round * (x * n[a]! + y * n[a + 1]! + z * n[a + 2]!);
      const arrives = round * (x * n[b]! + y * n[b + 1]! + z * n[b + 2]!);
      for (let axis = 0; axis < 3; axis++) {
        positions[to + axis] = (p[a + axis]! + p[b + axis]!) / 2 + arrives * n[b + axis]! - leaves * n[a + axis]!;
      }
    }
  }
}

/** What is drawn of meshes that share points, and its normals. */
export class RoundedSurface {
  /** In the meshes' order. */
  readonly drawn: readonly DrawnMesh[];
  private readonly rounded: readonly RoundedMesh[];
  private readonly coarse: SharedNormals;
  private readonly fine: SharedNormals | null;

  constructor(meshes: readonly MorphedMesh[]) {
    this.drawn = meshes.map((mesh) => (ROUND.has(mesh.mesh.surface.name) ? new RoundedMesh(mesh) : mesh));
    this.rounded = this.drawn.filter((mesh) => mesh instanceof RoundedMesh);
    this.coarse = new SharedNormals(meshes);
    this.fine = this.rounded.length > 0 ? new SharedNormals(this.drawn) : null;
  }

  /** Follow the meshes. */
  update(): void {
    this.coarse.update();
    for (const mesh of this.rounded) mesh.update();
    this.fine?.update();
  }
}

/** Each triangle as four; the middles of edges are numbered from `first` on, in the order of `ends`. */
function parted(triangles: Uint32Array, first: number): { ends: Uint32Array; triangles: Uint32Array } {
  const numbers = new Map<number, number>();
  const ends: number[] = [];
  const middle = (a: number, b: number): number => {
    const edge = Math.min(a, b) * VERTICES + Math.max(a, b);
    const known = numbers.get(edge);
    if (known !== undefined) return known;
    const number = first + numbers.size;
    numbers.set(edge, number);
    ends.push(a, b);
    return number;
  };
  const four = new Uint32Array(4 * triangles.length);
  for (let at = 0; at < triangles.length; at += 3) {
    const [a, b, c] = [triangles[at]!, triangles[at + 1]!, triangles[at + 2]!];
    const [ab, bc, ca] = [middle(a, b), middle(b, c), middle(c, a)];
    four.set([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 4 * at);
  }
  return { ends: Uint32Array.from(ends), triangles: four };
}

function withMiddles(uvs: Float32Array, ends: Uint32Array): Float32Array {
  if (uvs.length === 0) return uvs;
  const all = new Float32Array(uvs.length + ends.length);
  all.set(uvs);
  for (let edge = 0; edge < ends.length; edge += 2) {
    const [a, b] = [2 * ends[edge]!, 2 * ends[edge + 1]!];
    all[uvs.length + edge] = (uvs[a]! + uvs[b]!) / 2;
    all[uvs.length + edge + 1] = (uvs[a + 1]! + uvs[b + 1]!) / 2;
  }
  return all;
}
