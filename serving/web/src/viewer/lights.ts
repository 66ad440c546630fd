/** A portrait studio: a grey room, a large soft light at the upper left, a reflector, two strips behind; no pictures. */

import {
  BackSide,
  Color,
  DirectionalLight,
  Float32BufferAttribute,
  Group,
  Mesh,
  MeshBasicMaterial,
  PlaneGeometry,
  PMREMGenerator,
  Scene,
  SphereGeometry,
  type BufferGeometry,
  type Texture,
  type WebGLRenderer,
} from "three";

import type { Light } from "../ui/scene";

interface Panel {
  at: [number, number, number];
  size: [number, number];
  /** 1 is white paper in full light. */
  light: number;
  tint: number;
}

// Metres around the head.
const PANELS: readonly Panel[] = [
  { at: [-2.0, 1.7, 3.0], size: [1.7, 1.7], light: 5.5, tint: 0xfffaf2 },
  { at: [3.2, 0.6, 2.0], size: [1.0, 2.4], light: 1.6, tint: 0xf4f8ff },
  { at: [2.6, 1.4, -2.6], size: [0.7, 2.4], light: 7, tint: 0xffffff },
  { at: [-2.8, 1.0, -2.4], size: [0.6, 2.4], light: 5, tint: 0xffffff },
];
/** How bright the room is from below to above: as in the engine's game look (engine/lights.py). */
const ROOM = { middle: 0.72, slope: 0.12 };
const KEY_DIRECTION = [-0.5, 0.42, 0.85] as const;

/** What the head mirrors, and where its soft light comes from. Dispose it after use. */
export function surroundings(renderer: WebGLRenderer): Texture {
  const scene = new Scene().add(room(), ...PANELS.map(panel));
  const generator = new PMREMGenerator(renderer);
  const { texture } = generator.fromScene(scene, 0.02, 0.1, 20, { size: 64 });
  generator.dispose();
  scene.traverse((object) => {
    if (object instanceof Mesh) {
      (object.geometry as BufferGeometry).dispose();
      (object.material as MeshBasicMaterial).dispose();
    }
  });
  return texture;
}

function room(): Mesh {
  const geometry = new SphereGeometry(6, 24, 16);
  const normals = geometry.getAttribute("normal");
  const colours = [];
  for (let at = 0; at < normals.count; at++) {
    const light = ROOM.middle + ROOM.slope * normals.getY(at);
    colours.push(light, light, light);
  }
  geometry.setAttribute("color", new Float32BufferAttribute(colours, 3));
  return new Mesh(geometry, new MeshBasicMaterial({ vertexColors: true, side: BackSide }));
}

function panel({ at, size, light, tint }: Panel): Mesh {
  const made = new Mesh(
    new PlaneGeometry(...size),
    new MeshBasicMaterial({ color: new Color(tint).multiplyScalar(light) }),
  );
  made.position.set(...at);
  made.lookAt(0, 0, 0);
  return made;
}

/** How the studio is changed: turned by radians, its main light coloured, all of it and the room made brighter. */
export const MOODS: Readonly<Record<Light, { turned: number; colour: number; key: number; room: number }>> = {
  studio: { turned: 0, colour: 0xfff6ea, key: 1.7, room: 1 },
  side: { turned: -0.95, colour: 0xfff6ea, key: 2.3, room: 0.55 },
  evening: { turned: 0.7, colour: 0xffb066, key: 2.1, room: 0.45 },
  bright: { turned: 0, colour: 0xffffff, key: 1.4, room: 1.35 },
};

/** The light that casts shadows, and one from behind. The group turns with the camera, so the head stays well lit. */
export function keyLight(): Group {
  const key = new DirectionalLight(0xfff6ea, 1.7);
  key.position.set(...KEY_DIRECTION).multiplyScalar(1.9);
  key.castShadow = true;
  key.shadow.mapSize.set(1024, 1024);
  key.shadow.radius = 4;
  key.shadow.bias = -0.0006;
  key.shadow.normalBias = 0.002;
  Object.assign(key.shadow.camera, { left: -0.24, right: 0.24, top: 0.24, bottom: -0.24, near: 1.3, far: 2.6 });
  const rim = new DirectionalLight(0xf0f5ff, 0.7);
  rim.position.set(1.2, 0.7, -1.1);
  return new Group().add(key, key.target, rim, rim.target);
}
