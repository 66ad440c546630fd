/** The head as three.js draws it: fetches what the settings need, shapes it, and frees what they no longer need. */

import {
  Box3,
  BufferAttribute,
  BufferGeometry,
  DynamicDrawUsage,
  Group,
  LinearFilter,
  LinearMipmapLinearFilter,
  MathUtils,
  Mesh,
  Texture,
  Vector3,
  type MeshPhysicalMaterial,
} from "three";

import { figureFile } from "../api/figure";
import type { DrawableSchema, Picture, Piece } from "../api/schema";
import type { Settings } from "../edit/settings";
import type { Weights } from "./actions";
import { pictureAddress, pieceAddress } from "./addresses";
import { openness, targetWeights, type Basis } from "./formula";
import { readGlb, type Mesh as Glb } from "./glb";
import { applyPicture, blendedFor, clothMaterial, materialFor, wearShirt } from "./materials";
import { MorphedMesh, type DrawnMesh } from "./morphs";
import { RoundedSurface } from "./rounding";
import { Shirt, underCollar } from "./shirt";

/** What is transparent is drawn after what it lies over. */
const ORDER: Readonly<Record<string, number>> = { lashes: 1, brows: 1, beard: 2, hair: 2, lenses: 4 };
const BLENDED = 3;

/** By which share of the way eyes follow who looks, and how far they go, radians: as in the engine's own pictures. */
const FOLLOW = 0.4;
const [SIDEWAYS, UP] = [MathUtils.degToRad(16), MathUtils.degToRad(8)];

type HeadMesh = Mesh<BufferGeometry, MeshPhysicalMaterial>;

/** What one address gave: meshes that share points, and how three.js has them; over skin the shirt. */
interface LoadedPiece {
  shapes: { shape: MorphedMesh; mesh: HeadMesh; blended: HeadMesh | null }[];
  surface: RoundedSurface;
  shirt: { cloth: Shirt; mesh: HeadMesh } | null;
}

export class HeadModel {
  /** What to put into the scene. */
  readonly root = new Group();
  private readonly basis: Basis;
  private readonly loaded = new Map<Piece, { address: string | null; loaded: LoadedPiece | null }>();
  private readonly pictures = new Map<Picture, { address: string | null; texture: Texture | null }>();
  private weights = new Map<string, number>();
  /** Closed eyes, 0 to 1. */
  private blink = 0;
  private plaster = true;
  private shirt: number | null = null;
  private acting: Weights = new Map();
  /** What is taken from the face at rest. */
  private lessened: Weights = new Map();
  private follows = true;
  /** Whether pieces have the targets of all face actions. */
  private acts = false;
  private fetching: Promise<void> | null = null;

  /**
   * @param changed called whenever there is something new to draw.
   */
  constructor(
    private readonly schema: DrawableSchema,
    private readonly changed: () => void,
    private readonly anisotropy: number,
  ) {
    this.basis = { ...schema.figure, curves: schema.figure.curves as Basis["curves"], sliders: schema.sliders };
  }

  /** Shape the head by the sliders, at once. */
  pose(settings: Settings): void {
    this.weights = targetWeights(this.basis, settings.parameters);
    this.shape();
  }

  /**
   * Fetch what the settings need, and show it as it comes. Resolves when all of it is shown.
   *
   * @param plaster the bare head, like a cast: it needs no pictures and has no hair.
   */
  async fetch(settings: Settings, plaster: boolean): Promise<void> {
    const { pieces, textures } = this.schema.figure;
    const coloured = Promise.all(
      textures.map((picture) => this.loadPicture(picture, plaster ? null : pictureAddress(picture, settings))),
    );
    if (this.plaster && !plaster) await coloured;
    this.paint(plaster);
    const loaded = pieces.map((piece) =>
      this.loadPiece(piece, plaster && piece.group !== null ? null : pieceAddress(piece, settings)),
    );
    await Promise.all([coloured, ...loaded]);
  }

  close(eyes: number): void {
    this.blink = eyes;
    this.shape();
  }

  /**
   * What the face does: weights of face actions. Resolves once the files are there that it takes, the first time.
   *
   * @throws Error when one does not come; the face stays as it was.
   */
  async act(weights: Weights): Promise<void> {
    const before = this.acting;
    this.acting = weights;
    try {
      if (weights.size > 0) await this.fetchActions();
    } catch (error) {
      if (this.acting === weights) this.acting = before;
      throw error;
    }
    // A slider may have gone on while the files came.
    if (this.acting === weights) this.shape();
  }

  /**
   * Whether the face at rest smiles a little and looks at who looks; or is straight, and looks ahead.
   *
   * @throws Error when the files do not come that this takes; the face stays as it was.
   */
  async rest(friendly: boolean): Promise<void> {
    const held = Object.entries(this.schema.figure.resting ?? {});
    if (!friendly && held.length > 0) await this.fetchActions();
    this.lessened = new Map(friendly ? [] : held.map(([action, weight]) => [action, -weight]));
    this.follows = friendly;
    this.shape();
  }

  /** Before each picture: have the eyes look towards a point, metres, as far as they turn without the lids. */
  look(at: Vector3): void {
    for (const { loaded } of this.loaded.values()) if (loaded !== null) turnEyes(loaded, this.follows ? at : null);
  }

  private async fetchActions(): Promise<void> {
    if (this.acts) return;
    const every = [...this.loaded].map(([piece, { address, loaded }]) => addActions(piece, address, loaded));
    this.fetching ??= Promise.all(every).then(() => {
      this.acts = true;
    });
    try {
      await this.fetching;
    } finally {
      this.fetching = null;
    }
  }

  /** Put on a shirt of a colour, 0xrrggbb; null: the bust fades out instead. */
  wear(shirt: number | null): void {
    this.shirt = shirt;
    wearShirt(shirt !== null);
    for (const { loaded } of this.loaded.values()) {
      if (!loaded?.shirt) continue;
      loaded.shirt.mesh.visible = shirt !== null;
      if (shirt !== null && !this.plaster) loaded.shirt.mesh.material.color.set(shirt);
    }
    this.changed();
  }

  dispose(): void {
    for (const { loaded } of this.loaded.values()) this.detach(loaded);
    for (const { texture } of this.pictures.values()) texture?.dispose();
    this.loaded.clear();
    this.pictures.clear();
  }

  private shape(): void {
    const still = this.acting.size + this.lessened.size === 0;
    const weights = still ? this.weights : new Map([...this.weights, ...this.acting]);
    for (const [action, weight] of this.lessened) weights.set(action, (weights.get(action) ?? 0) + weight);
    for (const [lid, lids] of Object.entries(this.basis.lids)) {
      const closed = Math.max(this.blink, this.acting.get(lid) ?? 0);
      weights.set(lid, closed === 0 ? 0 : closed * openness(lids, this.weights));
    }
    for (const { loaded } of this.loaded.values()) if (loaded !== null) shape(loaded, weights);
    this.changed();
  }

  /** From plaster to skin and back. */
  private paint(plaster: boolean): void {
    if (this.plaster === plaster) return;
    this.plaster = plaster;
    for (const { loaded } of this.loaded.values()) {
      if (loaded?.shirt) {
        loaded.shirt.mesh.material.dispose();
        loaded.shirt.mesh.material = clothMaterial(this.shirt ?? 0, plaster);
      }
      for (const { shape, mesh, blended } of loaded?.shapes ?? []) {
        mesh.material.dispose();
        mesh.material = this.textured(materialFor(shape.mesh.surface, plaster));
        const material = blendedFor(shape.mesh.surface, plaster);
        if (blended === null || material === null) continue;
        blended.material.dispose();
        blended.material = this.textured(material);
      }
    }
    this.changed();
  }

  private textured(material: MeshPhysicalMaterial): MeshPhysicalMaterial {
    if (this.plaster) return material;
    for (const [picture, { texture }] of this.pictures) {
      if (picture.materials.includes(material.name)) applyPicture(material, picture.use, texture);
    }
    return material;
  }

  private async loadPiece(piece: Piece, address: string | null): Promise<void> {
    const before = this.loaded.get(piece);
    if (before?.address === address) return;
    this.loaded.set(piece, { address, loaded: before?.loaded ?? null });
    const meshes =
      address === null
        ? []
        : await meshesAt(address).catch((error: unknown) => {
            // Asked for again by the next settings, unless others have come since.
            if (this.loaded.get(piece)?.address === address)
              this.loaded.set(piece, before ?? { address: null, loaded: null });
            throw error;
          });
    // The person may have chosen something else while this came.
    const now = this.loaded.get(piece);
    if (now?.address !== address) return;
    this.detach(now.loaded);
    const loaded = this.attach(meshes.map((mesh) => new MorphedMesh(mesh)));
    this.loaded.set(piece, { address, loaded });
    shape(loaded, this.weights, true);
    if (this.acts) await addActions(piece, address, loaded);
    this.shape();
  }

  private attach(shapes: MorphedMesh[]): LoadedPiece {
    const loaded: LoadedPiece = { shapes: [], surface: new RoundedSurface(shapes), shirt: null };
    // As the file has it, before any slider: there the shirt is fitted.
    loaded.surface.update();
    for (const [number, shape] of shapes.entries()) {
      const { surface, name } = shape.mesh;
      const geometry = geometryOf(loaded.surface.drawn[number]!);
      const mesh = new Mesh(geometry, this.textured(materialFor(surface, this.plaster)));
      mesh.name = name;
      if (surface.name === "skin") {
        const drawn = loaded.surface.drawn[number]!;
        geometry.setAttribute("under", new BufferAttribute(underCollar(drawn.positions), 1));
        loaded.shirt = this.dress(shape);
      }
      mesh.castShadow = surface.alpha !== "BLEND";
      mesh.receiveShadow = surface.alpha !== "BLEND";
      // A head fills the view; its bounds would have to follow every slider.
      mesh.frustumCulled = false;
      mesh.renderOrder = ORDER[surface.name] ?? 0;
      this.root.add(mesh);
      const material = blendedFor(surface, this.plaster);
      const blended = material === null ? null : new Mesh(geometry, this.textured(material));
      if (blended !== null) {
        Object.assign(blended, { frustumCulled: false, receiveShadow: true, renderOrder: BLENDED });
        this.root.add(blended);
      }
      loaded.shapes.push({ shape, mesh, blended });
    }
    return loaded;
  }

  private dress(skin: MorphedMesh): LoadedPiece["shirt"] {
    const cloth = Shirt.on(skin);
    if (cloth === null) return null;
    const geometry = geometryOf(cloth).setAttribute("color", new BufferAttribute(cloth.shades, 3));
    const mesh = new Mesh(geometry, clothMaterial(this.shirt ?? 0, this.plaster));
    Object.assign(mesh, { name: "shirt", frustumCulled: false, receiveShadow: true, visible: this.shirt !== null });
    this.root.add(mesh);
    return { cloth, mesh };
  }

  private detach(loaded: LoadedPiece | null): void {
    if (loaded?.shirt) {
      this.root.remove(loaded.shirt.mesh);
      loaded.shirt.mesh.geometry.dispose();
      loaded.shirt.mesh.material.dispose();
    }
    for (const { mesh, blended } of loaded?.shapes ?? []) {
      this.root.remove(mesh);
      mesh.geometry.dispose();
      mesh.material.dispose();
      if (blended === null) continue;
      this.root.remove(blended);
      blended.material.dispose();
    }
  }

  private async loadPicture(picture: Picture, address: string | null): Promise<void> {
    const before = this.pictures.get(picture);
    if (before?.address === address) return;
    this.pictures.set(picture, { address, texture: before?.texture ?? null });
    const texture =
      address === null
        ? null
        : await this.texture(address).catch((error: unknown) => {
            if (this.pictures.get(picture)?.address === address)
              this.pictures.set(picture, before ?? { address: null, texture: null });
            throw error;
          });
    const now = this.pictures.get(picture);
    if (now?.address !== address) {
      texture?.dispose();
      return;
    }
    this.pictures.set(picture, { address, texture });
    for (const { loaded } of this.loaded.values()) {
      for (const { mesh, blended } of loaded?.shapes ?? []) {
        if (this.plaster || !picture.materials.includes(mesh.material.name)) continue;
        applyPicture(mesh.material, picture.use, texture);
        if (blended !== null) applyPicture(blended.material, picture.use, texture);
      }
    }
    now.texture?.dispose();
    this.changed();
  }

  private async texture(address: string): Promise<Texture> {
    const picture = await (await figureFile(address)).blob();
    const texture = new Texture(
      await createImageBitmap(picture, { premultiplyAlpha: "none", colorSpaceConversion: "none" }),
    );
    texture.flipY = false;
    texture.minFilter = LinearMipmapLinearFilter;
    texture.magFilter = LinearFilter;
    texture.anisotropy = this.anisotropy;
    texture.needsUpdate = true;
    return texture;
  }
}

function geometryOf({ uvs, triangles, positions, normals }: DrawnMesh): BufferGeometry {
  const geometry = new BufferGeometry();
  geometry.setAttribute("position", new BufferAttribute(positions, 3).setUsage(DynamicDrawUsage));
  geometry.setAttribute("normal", new BufferAttribute(normals, 3).setUsage(DynamicDrawUsage));
  if (uvs.length > 0) geometry.setAttribute("uv", new BufferAttribute(uvs, 2));
  return geometry.setIndex(new BufferAttribute(triangles, 1));
}

function shape(loaded: LoadedPiece, weights: ReadonlyMap<string, number>, fresh = false): void {
  const moved = loaded.shapes.filter(({ shape }) => shape.follow(weights));
  if (moved.length === 0 && !fresh) return;
  loaded.surface.update();
  if (loaded.shirt?.cloth.update()) touch(loaded.shirt.mesh);
  for (const { mesh } of loaded.shapes) touch(mesh);
}

function touch({ geometry }: HeadMesh): void {
  geometry.getAttribute("position").needsUpdate = true;
  geometry.getAttribute("normal").needsUpdate = true;
}

/** Turn the eyeballs about their middles towards a point; null: straight ahead. */
function turnEyes(loaded: LoadedPiece, at: Vector3 | null): void {
  const [box, middle, towards] = [new Box3(), new Vector3(), new Vector3(0, 0, 1)];
  for (const { mesh } of loaded.shapes) {
    if (!mesh.name.startsWith("eye_")) continue;
    box.setFromBufferAttribute(mesh.geometry.getAttribute("position") as BufferAttribute).getCenter(middle);
    if (at !== null) towards.subVectors(at, middle).normalize();
    const sideways = MathUtils.clamp(FOLLOW * Math.atan2(towards.x, towards.z), -SIDEWAYS, SIDEWAYS);
    const up = MathUtils.clamp(FOLLOW * Math.asin(towards.y), -UP, UP);
    mesh.rotation.set(-up, sideways, 0, "YXZ");
    mesh.position.copy(middle).sub(middle.clone().applyEuler(mesh.rotation));
  }
}

/** Give what was loaded from an address the targets of face actions, where the piece follows any. */
async function addActions(piece: Piece, address: string | null, loaded: LoadedPiece | null): Promise<void> {
  if (!piece.actions || address === null || loaded === null) return;
  const meshes = await meshesAt(piece.actions + address.slice(piece.url.length));
  for (const { shape } of loaded.shapes) {
    const found = meshes.find(({ name }) => name === shape.mesh.name);
    shape.mesh.targets.push(...(found?.targets ?? []));
  }
}

async function meshesAt(address: string): Promise<Glb[]> {
  return readGlb(await (await figureFile(address)).arrayBuffer());
}
