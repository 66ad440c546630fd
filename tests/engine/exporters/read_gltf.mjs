// What three.js' own reader makes of one file: `node read_gltf.mjs FILE` prints it as JSON.
import { readFileSync } from "node:fs";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

// Pictures are decoded by browsers alone; here a picture is a blank one.
globalThis.self = globalThis;
globalThis.createImageBitmap = async () => ({ width: 1, height: 1, close() {} });

const warnings = [];
console.warn = console.error = (...words) => warnings.push(words.join(" "));
const bytes = readFileSync(process.argv[2]);
const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
const { scene } = await new GLTFLoader().parseAsync(file, "");

const meshes = {};
let bones = [];
scene.traverse((node) => {
  if (node.isSkinnedMesh) bones = node.skeleton.bones.map(({ name }) => name);
  if (node.isMesh) meshes[node.name] = Object.keys(node.morphTargetDictionary ?? {});
});
process.stdout.write(JSON.stringify({ warnings, meshes, bones, about: Object.keys(scene.userData.likeness ?? {}) }));
