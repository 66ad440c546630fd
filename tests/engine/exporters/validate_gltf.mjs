// Khronos' validator on one file: `node validate_gltf.mjs FILE` prints its report as JSON.
import { readFileSync } from "node:fs";
import validator from "gltf-validator";

const report = await validator.validateBytes(new Uint8Array(readFileSync(process.argv[2])), { maxIssues: 0 });
process.stdout.write(JSON.stringify(report));
