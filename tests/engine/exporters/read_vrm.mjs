// What pixiv's reader makes of one file: `node read_vrm.mjs FILE` prints it as JSON.
import { readFileSync } from "node:fs";
import { VRMLoaderPlugin } from "@pixiv/three-vrm";
import { Box3, MathUtils } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

// Pictures are decoded by browsers alone; here a picture is a blank one.
globalThis.self = globalThis;
globalThis.createImageBitmap = async () => ({ width: 1, height: 1, close() {} });

const warnings = [];
console.warn = console.error = (...words) => warnings.push(words.join(" "));
const loader = new GLTFLoader();
loader.register((parser) => new VRMLoaderPlugin(parser));
const bytes = readFileSync(process.argv[2]);
const gltf = await loader.parseAsync(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length), "");
const { vrm } = gltf.userData;

const skin = gltf.scene.getObjectByName("skin");
function influences(preset) {
  vrm.expressionManager.setValue(preset, 1);
  vrm.expressionManager.update();
  const found = Object.entries(skin.morphTargetDictionary)
    .map(([name, index]) => [name, skin.morphTargetInfluences[index]])
    .filter(([, weight]) => weight > 0);
  vrm.expressionManager.setValue(preset, 0);
  vrm.expressionManager.update();
  return Object.fromEntries(found);
}

// Looking to the person's left, which is +X where a model faces +Z.
vrm.lookAt.applier.applyYawPitch(30, 0);
vrm.humanoid.update();
const gaze = MathUtils.radToDeg(vrm.humanoid.getRawBoneNode("leftEye").rotation.y);

const heights = {};
for (const name of Object.keys(vrm.humanoid.humanBones)) {
  heights[name] = vrm.humanoid.getRawBoneNode(name).getWorldPosition(skin.position.clone()).y;
}
const report = {
  warnings,
  meta: vrm.meta,
  heights,
  gaze,
  top: new Box3().setFromBufferAttribute(skin.geometry.attributes.position).max.y,
  presets: Object.fromEntries(vrm.expressionManager.expressions.map(({ expressionName }) => [expressionName, influences(expressionName)])),
};
process.stdout.write(JSON.stringify(report));
