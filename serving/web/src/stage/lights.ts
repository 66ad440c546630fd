/** A portrait studio: a large soft light at the upper left, a reflector at the right, a strip behind, no pictures. */

import {
  BackSide,
  BoxGeometry,
  DirectionalLight,
  Group,
  Mesh,
  MeshBasicMaterial,
  PlaneGeometry,
  PMREMGenerator,
  Scene,
  SphereGeometry,
  type Texture,
  type WebGLRenderer,
} from "three";

interface Panel {
  at: [number, number, number];
  size: [number, number];
  light: number;
  tint?: number;
}

// Metres around the head; how bright, 1 being white paper.
const PANELS: readonly Panel[] = [
  { at: [-2.2, 1.9, 2.3], size: [2.2, 2.2], light: 11, tint: 0xfff4e8 },
  { at: [3.0, 0.4, 1.6], size: [1.6, 2.6], light: 2.2, tint: 0xeaf1ff },
  { at: [2.4, 1.8, -2.4], size: [0.9, 2.4], light: 9 },
  { at: [-2.6, 1.0, -2.4], size: [0.7, 2.4], light: 5 },
  { at: [0, 3.4, 0], size: [2.4, 2.4], light: 2.5 },
];

/** What the head mirrors, and where its soft light comes from. Dispose it after use. */
export function surroundings(renderer: WebGLRenderer): Texture {
  const scene = new Scene();
  const room = new Mesh(new SphereGeometry(6, 24, 16), new MeshBasicMaterial({ color: 0x8b9090, side: BackSide }));
  room.material.color.multiplyScalar(0.9);
  const floor = new Mesh(new BoxGeometry(8, 0.1, 8), new MeshBasicMaterial({ color: 0x3d3a37 }));
  floor.position.y = -2.2;
  scene.add(room, floor);
  for (const { at, size, light, tint = 0xffffff } of PANELS) {
    const panel = new Mesh(new PlaneGeometry(...size), new MeshBasicMaterial({ color: tint }));
    panel.material.color.multiplyScalar(light);
    panel.position.set(...at);
    panel.lookAt(0, 0, 0);
    scene.add(panel);
  }
  const generator = new PMREMGenerator(renderer);
  const { texture } = generator.fromScene(scene, 0.02, 0.1, 20);
  generator.dispose();
  scene.traverse((object) => {
    if (object instanceof Mesh) {
      object.geometry.dispose();
      object.material.dispose();
    }
  });
  return texture;
}

/** The light that casts shadows. It stands with the camera: turn the group and the head stays well lit. */
export function keyLight(): Group {
  const key = new DirectionalLight(0xfff1e2, 1.9);
  key.position.set(-0.9, 1.05, 1.35);
  key.castShadow = true;
  key.shadow.mapSize.set(1024, 1024);
  key.shadow.radius = 5;
  key.shadow.bias = -0.0008;
  key.shadow.normalBias = 0.0015;
  Object.assign(key.shadow.camera, { left: -0.24, right: 0.24, top: 0.24, bottom: -0.24, near: 1.2, far: 2.6 });
  const rim = new DirectionalLight(0xdfe9ff, 0.9);
  rim.position.set(1.2, 0.7, -1.1);
  return new Group().add(key, key.target, rim, rim.target);
}
