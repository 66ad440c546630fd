// What three.js' own readers take out of an OBJ: `node read_obj.mjs FILE` prints it as JSON.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { MTLLoader } from "../../../serving/web/node_modules/three/examples/jsm/loaders/MTLLoader.js";
import { OBJLoader } from "../../../serving/web/node_modules/three/examples/jsm/loaders/OBJLoader.js";

const folder = dirname(process.argv[2]);
const object = new OBJLoader().parse(readFileSync(process.argv[2], "utf8"));
const textures = {};
for (const library of object.materialLibraries) {
  // With a base address, as in a page: names are parts of addresses then.
  const creator = new MTLLoader().parse(readFileSync(join(folder, library), "utf8"), "https://example.com/");
  creator.loadTexture = (url) => ({ repeat: { copy() {} }, offset: { copy() {} }, url });
  for (const [name, material] of Object.entries((creator.preload(), creator.materials))) {
    textures[name] = [material.map, material.alphaMap].map((map) => map && new URL(map.url).pathname.slice(1));
  }
}
const meshes = object.children.map((mesh) => [mesh.name, mesh.material.name, mesh.geometry.attributes.position.count]);
process.stdout.write(JSON.stringify({ libraries: object.materialLibraries, textures, meshes }));
