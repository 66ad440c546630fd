// meshoptimizer on the pieces of one file: `node simplify.mjs PIECES.json` prints, for each, the triangles that are left.
// A piece: positions [3 P], attributes [A P] with a weight each, triangles [3 T], share of them to keep.
import { readFileSync } from "node:fs";
import { MeshoptSimplifier } from "meshoptimizer";

await MeshoptSimplifier.ready;
const MOST_ERROR = 0.05; // of the piece's size

function simplified({ positions, attributes, weights, triangles, share, locked }) {
  const target = 3 * Math.floor((triangles.length / 3) * share);
  const [left] = MeshoptSimplifier.simplifyWithAttributes(
    new Uint32Array(triangles),
    new Float32Array(positions),
    3,
    new Float32Array(attributes),
    weights.length,
    weights,
    locked ? new Uint8Array(locked) : null,
    target,
    MOST_ERROR,
    [],
  );
  return Array.from(left);
}

const pieces = JSON.parse(readFileSync(process.argv[2], "utf8"));
process.stdout.write(JSON.stringify(Object.fromEntries(Object.entries(pieces).map(([name, piece]) => [name, simplified(piece)]))));
