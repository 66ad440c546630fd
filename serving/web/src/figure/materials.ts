/** Surfaces as three.js materials: skin that lets light through, wet eyes, strands. */

import {
  Color,
  DoubleSide,
  FrontSide,
  MeshPhysicalMaterial,
  NoColorSpace,
  ShaderChunk,
  SRGBColorSpace,
  Vector2,
  type Texture,
} from "three";

import type { Surface } from "./glb";

/**
 * Light that enters skin comes out nearby, red farthest: red reaches past the line where light ends. The same three
 * numbers as in the engine's own shading (engine/kernels/shade.py).
 */
const DIFFUSE = "reflectedLight.directDiffuse += irradiance *";
const SKIN_DIFFUSE = `
	vec3 reach = vec3( 0.28, 0.12, 0.08 );
	vec3 through = max( dot( geometryNormal, directLight.direction ) + reach, 0.0 ) / ( 1.0 + reach );
	reflectedLight.directDiffuse += through * directLight.color *`;

export function materialFor(surface: Surface): MeshPhysicalMaterial {
  const material = new MeshPhysicalMaterial({
    name: surface.name,
    color: new Color(...surface.colour),
    roughness: surface.roughness,
    metalness: 0,
    side: surface.doubleSided ? DoubleSide : FrontSide,
  });
  if (surface.alpha === "MASK") material.alphaTest = surface.alphaCutoff;
  if (surface.alpha === "BLEND") {
    material.transparent = true;
    material.depthWrite = false;
  }
  const refine = REFINEMENTS[surface.name];
  refine?.(material);
  return material;
}

const REFINEMENTS: Readonly<Record<string, (material: MeshPhysicalMaterial) => void>> = {
  skin: (material) => {
    material.specularIntensity = 0.7;
    material.normalScale = new Vector2(0.8, -0.8);
    material.onBeforeCompile = (shader) => {
      const lit = ShaderChunk.lights_physical_pars_fragment.replace(DIFFUSE, SKIN_DIFFUSE);
      shader.fragmentShader = shader.fragmentShader.replace("#include <lights_physical_pars_fragment>", lit);
    };
    material.customProgramCacheKey = () => "skin";
  },
  eyes: (material) => {
    material.clearcoat = 1;
    material.clearcoatRoughness = 0.04;
    material.roughness = 0.35;
  },
  hair: (material) => {
    // The edges of hundreds of cards are smoothed by the samples of the antialiasing.
    material.alphaToCoverage = true;
    material.specularIntensity = 0.5;
    material.anisotropy = 0.6;
    material.anisotropyRotation = Math.PI / 2;
  },
};

export function applyPicture(material: MeshPhysicalMaterial, use: "base_colour" | "normals", texture: Texture | null): void {
  const slot = use === "normals" ? "normalMap" : "map";
  if (texture !== null) texture.colorSpace = use === "normals" ? NoColorSpace : SRGBColorSpace;
  const appeared = (material[slot] === null) !== (texture === null);
  material[slot] = texture;
  if (appeared) material.needsUpdate = true;
}
