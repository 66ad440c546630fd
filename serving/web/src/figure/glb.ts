/**
 * Reads the binary glTF files of the figure into plain arrays.
 *
 * three.js's own loader makes every morph target as large as the mesh. Here are hundreds, and most move a few vertices,
 * so that they are kept as sparse as the file has them.
 */

/** What one target does: `moves[3 * i]` to `moves[3 * i + 2]` displaces vertex `vertices[i]`, metres at weight 1. */
export interface Target {
  name: string;
  vertices: Uint32Array;
  moves: Float32Array;
}

export interface Surface {
  name: string;
  colour: readonly [number, number, number];
  roughness: number;
  metalness: number;
  opacity: number;
  alpha: "OPAQUE" | "MASK" | "BLEND";
  alphaCutoff: number;
  doubleSided: boolean;
}

export interface Mesh {
  name: string;
  surface: Surface;
  /** [3 * n] metres. */
  positions: Float32Array;
  /** [2 * n], or empty. */
  uvs: Float32Array;
  /** [n] vertices with one number are one point of the surface, parted where texture coordinates are. */
  sources: Uint32Array;
  triangles: Uint32Array;
  targets: Target[];
}

interface Accessor {
  bufferView?: number;
  byteOffset?: number;
  componentType: number;
  normalized?: boolean;
  count: number;
  type: "SCALAR" | "VEC2" | "VEC3" | "VEC4";
  sparse?: {
    count: number;
    indices: { bufferView: number; byteOffset?: number; componentType: number };
    values: { bufferView: number; byteOffset?: number };
  };
}

interface Document {
  accessors: Accessor[];
  bufferViews: { byteOffset?: number; byteLength: number; byteStride?: number }[];
  nodes: { name?: string; mesh?: number; translation?: number[]; scale?: number[] }[];
  meshes: {
    name: string;
    extras?: { targetNames?: string[] };
    primitives: {
      attributes: Record<string, number>;
      indices: number;
      material?: number;
      targets?: { POSITION: number }[];
    }[];
  }[];
  materials?: {
    name?: string;
    alphaMode?: Surface["alpha"];
    alphaCutoff?: number;
    doubleSided?: boolean;
    pbrMetallicRoughness?: { baseColorFactor?: number[]; roughnessFactor?: number; metallicFactor?: number };
  }[];
}

interface Component {
  bytes: number;
  /** What an integer is divided by when it is normalized. */
  full: number;
  read: (view: DataView, at: number) => number;
}

const COMPONENTS: Readonly<Record<number, Component>> = {
  5120: { bytes: 1, full: 127, read: (view, at) => view.getInt8(at) },
  5121: { bytes: 1, full: 255, read: (view, at) => view.getUint8(at) },
  5122: { bytes: 2, full: 32767, read: (view, at) => view.getInt16(at, true) },
  5123: { bytes: 2, full: 65535, read: (view, at) => view.getUint16(at, true) },
  5125: { bytes: 4, full: 4294967295, read: (view, at) => view.getUint32(at, true) },
  5126: { bytes: 4, full: 1, read: (view, at) => view.getFloat32(at, true) },
};
const WIDTHS = { SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4 } as const;
const [MAGIC, JSON_CHUNK, BINARY_CHUNK] = [0x46546c67, 0x4e4f534a, 0x004e4942];

/** All meshes of a .glb file. Throws an Error when the bytes are not one. */
export function readGlb(bytes: ArrayBuffer): Mesh[] {
  const file = new File(bytes);
  return file.document.nodes.flatMap((node) => (node.mesh === undefined ? [] : [file.mesh(node, node.mesh)]));
}

class File {
  readonly document: Document;
  private readonly binary: DataView;

  constructor(bytes: ArrayBuffer) {
    const view = new DataView(bytes);
    if (bytes.byteLength < 20 || view.getUint32(0, true) !== MAGIC) throw new Error("not a binary glTF file");
    const chunks = new Map<number, DataView>();
    for (let at = 12; at + 8 <= bytes.byteLength;) {
      const length = view.getUint32(at, true);
      chunks.set(view.getUint32(at + 4, true), new DataView(bytes, at + 8, length));
      at += 8 + length;
    }
    const [text, binary] = [chunks.get(JSON_CHUNK), chunks.get(BINARY_CHUNK)];
    if (text === undefined || binary === undefined) throw new Error("a binary glTF file without its chunks");
    this.document = JSON.parse(new TextDecoder().decode(text)) as Document;
    this.binary = binary;
  }

  mesh(node: Document["nodes"][number], number: number): Mesh {
    const mesh = found(this.document.meshes, number);
    const primitive = found(mesh.primitives, 0);
    const { POSITION, TEXCOORD_0, _SOURCE } = primitive.attributes;
    const scale = node.scale ?? [1, 1, 1];
    const positions = this.dense(POSITION);
    const translation = node.translation ?? [0, 0, 0];
    for (let at = 0; at < positions.length; at++) {
      positions[at] = positions[at]! * scale[at % 3]! + translation[at % 3]!;
    }
    const names = mesh.extras?.targetNames ?? [];
    return {
      name: node.name ?? mesh.name,
      surface: this.surface(primitive.material),
      positions,
      uvs: TEXCOORD_0 === undefined ? new Float32Array() : this.dense(TEXCOORD_0),
      sources:
        _SOURCE === undefined
          ? Uint32Array.from({ length: positions.length / 3 }, (_, at) => at)
          : Uint32Array.from(this.dense(_SOURCE)),
      triangles: Uint32Array.from(this.dense(primitive.indices)),
      targets: (primitive.targets ?? []).map((target, at) =>
        this.target(names[at] ?? String(at), target.POSITION, scale),
      ),
    };
  }

  private surface(number: number | undefined): Surface {
    const material = number === undefined ? {} : found(this.document.materials ?? [], number);
    const [red = 1, green = 1, blue = 1, opacity = 1] = material.pbrMetallicRoughness?.baseColorFactor ?? [];
    return {
      name: material.name ?? "",
      colour: [red, green, blue],
      roughness: material.pbrMetallicRoughness?.roughnessFactor ?? 1,
      metalness: material.pbrMetallicRoughness?.metallicFactor ?? 1,
      opacity,
      alpha: material.alphaMode ?? "OPAQUE",
      alphaCutoff: material.alphaCutoff ?? 0.5,
      doubleSided: material.doubleSided ?? false,
    };
  }

  private target(name: string, number: number, scale: readonly number[]): Target {
    const accessor = found(this.document.accessors, number);
    const { sparse } = accessor;
    let vertices: Uint32Array;
    let moves: Float32Array;
    if (sparse !== undefined && accessor.bufferView === undefined) {
      const { indices, values } = sparse;
      vertices = Uint32Array.from(this.numbers({ ...indices, count: sparse.count, type: "SCALAR" }));
      moves = this.numbers({
        ...accessor,
        bufferView: values.bufferView,
        byteOffset: values.byteOffset ?? 0,
        count: sparse.count,
      });
    } else {
      const everything = this.dense(number);
      const moved = [];
      for (let at = 0; at < accessor.count; at++) {
        if (everything[3 * at] !== 0 || everything[3 * at + 1] !== 0 || everything[3 * at + 2] !== 0) moved.push(at);
      }
      vertices = Uint32Array.from(moved);
      moves = Float32Array.from(moved.flatMap((at) => [...everything.subarray(3 * at, 3 * at + 3)]));
    }
    for (let at = 0; at < moves.length; at++) moves[at] = moves[at]! * scale[at % 3]!;
    return { name, vertices, moves };
  }

  /** All values of an accessor, those that it stores sparsely included. */
  private dense(number: number | undefined): Float32Array {
    const accessor = found(this.document.accessors, number ?? -1);
    const width = WIDTHS[accessor.type];
    const values =
      accessor.bufferView === undefined ? new Float32Array(accessor.count * width) : this.numbers(accessor);
    const { sparse } = accessor;
    if (sparse !== undefined) {
      const places = this.numbers({ ...sparse.indices, count: sparse.count, type: "SCALAR" });
      const replaced = this.numbers({
        ...accessor,
        bufferView: sparse.values.bufferView,
        byteOffset: sparse.values.byteOffset ?? 0,
        count: sparse.count,
      });
      places.forEach((place, at) => values.set(replaced.subarray(at * width, (at + 1) * width), place * width));
    }
    return values;
  }

  private numbers(accessor: Omit<Accessor, "sparse">): Float32Array {
    const component = COMPONENTS[accessor.componentType];
    if (component === undefined) throw new Error(`glTF has no component type ${accessor.componentType}`);
    const view = found(this.document.bufferViews, accessor.bufferView ?? -1);
    const width = WIDTHS[accessor.type];
    const stride = view.byteStride ?? component.bytes * width;
    const start = (view.byteOffset ?? 0) + (accessor.byteOffset ?? 0);
    const divisor = accessor.normalized === true ? component.full : 1;
    const values = new Float32Array(accessor.count * width);
    for (let at = 0; at < values.length; at++) {
      const place = start + Math.floor(at / width) * stride + (at % width) * component.bytes;
      values[at] = component.read(this.binary, place) / divisor;
    }
    return values;
  }
}

function found<T>(list: readonly T[], number: number): T {
  const item = list[number];
  if (item === undefined) throw new Error("a glTF file that refers to what it does not hold");
  return item;
}
