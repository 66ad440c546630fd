/** Surfaces as three.js materials: skin that lets light through, wet eyes, strands; or all of it plaster. */

import {
  Color,
  DoubleSide,
  FrontSide,
  LessDepth,
  MeshPhysicalMaterial,
  NoColorSpace,
  ShaderChunk,
  SRGBColorSpace,
  Vector2,
  type Texture,
  type WebGLProgramParametersWithUniforms,
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

/** Whether the bust wears a shirt, which hides what is under its collar; otherwise the neck fades out. */
const shirted = { value: 0 };

export function wearShirt(isWorn: boolean): void {
  shirted.value = isWorn ? 1 : 0;
}

/** The neck fades out above where the mesh ends, metres below the eyes and to the sides. */
const FADE = `
	float below = 1.0 - smoothstep( -0.125, -0.090, vAt.y );
	float faded = smoothstep( -0.172, -0.122, vAt.y ) * ( 1.0 - below * smoothstep( 0.060, 0.126, abs( vAt.x ) ) );
	faded = mix( faded, 1.0 - step( 0.0, vUnder ), shirted );
	#include <clipping_planes_fragment>`;
/** Where skin is seen through it hides nothing: that part is drawn by itself, after what is behind it. */
const SOLID = "if ( faded < 0.99 ) discard;";
const SEEN_THROUGH = "if ( faded >= 0.99 || faded <= 0.0 ) discard;";

/**
 * Hair that hangs lower than the neck fades a little below it; behind the neck where that begins to be seen through. Over
 * a shirt only where that ends.
 */
const HAIR_FADE = `
	float behind = 1.0 - smoothstep( -0.13, -0.09, vAt.z );
	float loose = mix( smoothstep( -0.200, -0.130, vAt.y ), smoothstep( -0.155, -0.115, vAt.y ), behind );
	diffuseColor.a *= mix( loose, smoothstep( -0.330, -0.240, vAt.y ), shirted );
	#include <alphatest_fragment>`;

const CLOTH_FADE = `
	diffuseColor.a *= smoothstep( -0.385, -0.300, vAt.y );
	#include <alphatest_fragment>`;

/** In steps of a depth buffer of 24 bits: about two centimetres. */
const BEHIND = 14000;

const PLASTER = new Color(0xd9d5cc);

/** @param plaster the material of a head that is nobody's yet. */
export function materialFor(surface: Surface, plaster: boolean): MeshPhysicalMaterial {
  const material = new MeshPhysicalMaterial({
    name: surface.name,
    color: new Color(...surface.colour),
    roughness: surface.roughness,
    metalness: surface.metalness,
    opacity: surface.opacity,
    side: surface.doubleSided ? DoubleSide : FrontSide,
  });
  if (surface.alpha === "MASK") material.alphaTest = surface.alphaCutoff;
  if (surface.alpha === "BLEND") {
    material.transparent = true;
    material.depthWrite = false;
  }
  REFINEMENTS[surface.name]?.(material);
  if (plaster) turnToPlaster(material);
  return material;
}

const REFINEMENTS: Readonly<Record<string, (material: MeshPhysicalMaterial) => void>> = {
  skin: (material) => {
    material.specularIntensity = 0.6;
    material.normalScale = new Vector2(0.9, -0.9);
    material.onBeforeCompile = (shader) => {
      fade(shader);
      const lit = ShaderChunk.lights_physical_pars_fragment.replace(DIFFUSE, SKIN_DIFFUSE);
      shader.fragmentShader = shader.fragmentShader.replace("#include <lights_physical_pars_fragment>", lit);
    };
    material.customProgramCacheKey = () => "skin";
  },
  eyes: (material) => {
    material.clearcoat = 0.8;
    material.clearcoatRoughness = 0.15;
    material.roughness = 0.5;
    material.specularIntensity = 0.2;
  },
  glasses: (material) => {
    material.specularIntensity = 0.9;
  },
  // What a lens mirrors is as bright as its surface is opaque, unless it is told apart: a coat that is not blended.
  lenses: (material) => {
    material.specularIntensity = 0.6;
    material.premultipliedAlpha = true;
    material.onBeforeCompile = glaze;
    material.customProgramCacheKey = () => "lenses";
  },
  mouth: inside,
  // How little light reaches them is in their picture.
  teeth: under,
  hair: dense,
  beard: dense,
};

/** Hair is drawn twice: where it is dense, and then its thin ends over all else. This opacity parts the two. */
const DENSE = 0.6;
const STRANDS: ReadonlySet<string> = new Set(["hair", "beard"]);

/** The material of what is drawn once more, blended over all else: thin ends of hair, and the neck where it fades. */
export function blendedFor(surface: Surface, plaster: boolean): MeshPhysicalMaterial | null {
  if (STRANDS.has(surface.name)) return thinEnds(surface);
  if (surface.name !== "skin") return null;
  const material = materialFor(surface, plaster);
  const { onBeforeCompile, customProgramCacheKey } = material;
  material.transparent = true;
  material.depthWrite = false;
  material.onBeforeCompile = (shader, renderer) => {
    onBeforeCompile(shader, renderer);
    shader.fragmentShader = shader.fragmentShader.replace(SOLID, SEEN_THROUGH);
  };
  material.customProgramCacheKey = () => `${customProgramCacheKey()}, seen through`;
  return material;
}

function dense(material: MeshPhysicalMaterial): void {
  material.alphaTest = DENSE;
  // The samples of the antialiasing smooth the edges of the cards; blended as well, they keep the colour behind them.
  material.alphaToCoverage = true;
  material.transparent = true;
  silken(material);
}

function thinEnds(surface: Surface): MeshPhysicalMaterial {
  const material = new MeshPhysicalMaterial({
    name: surface.name,
    roughness: surface.roughness,
    metalness: 0,
    side: DoubleSide,
    transparent: true,
    depthWrite: false,
    depthFunc: LessDepth,
    alphaTest: 0.03,
  });
  silken(material);
  return material;
}

/** Have a lens add what it mirrors to what is seen through it: only its own colour is weakened by its opacity. */
function glaze(shader: WebGLProgramParametersWithUniforms): void {
  shader.fragmentShader = shader.fragmentShader
    .replace(
      "#include <opaque_fragment>",
      "gl_FragColor = vec4( totalDiffuse * diffuseColor.a + totalSpecular, diffuseColor.a );",
    )
    .replace("#include <premultiplied_alpha_fragment>", "");
}

/** Little light reaches the inside of a mouth, and nothing here works out how little. */
function inside(material: MeshPhysicalMaterial): void {
  material.specularIntensity = 0.05;
  material.color.multiplyScalar(0.5);
  under(material);
}

/** What lies so close under cheeks and lips that it would show through. */
function under(material: MeshPhysicalMaterial): void {
  material.polygonOffset = true;
  material.polygonOffsetUnits = BEHIND;
}

function silken(material: MeshPhysicalMaterial): void {
  material.specularIntensity = 0.45;
  material.anisotropy = 0.5;
  material.anisotropyRotation = Math.PI / 2;
  material.onBeforeCompile = (shader) => {
    place(shader);
    shader.fragmentShader = shader.fragmentShader.replace("#include <alphatest_fragment>", HAIR_FADE);
  };
  material.customProgramCacheKey = () => "hair";
}

function turnToPlaster(material: MeshPhysicalMaterial): void {
  material.color.copy(PLASTER);
  material.roughness = 0.85;
  material.clearcoat = 0;
  material.specularIntensity = 0.25;
  material.alphaTest = 0;
  if (material.name === "skin") {
    material.onBeforeCompile = fade;
    material.customProgramCacheKey = () => "plaster";
  }
  if (material.name === "mouth") material.color.multiplyScalar(0.35);
}

/** Let the fragment shader know where on the head it is: `vAt`, metres from between the eyes; and if there is a shirt. */
function place(shader: WebGLProgramParametersWithUniforms): void {
  shader.uniforms["shirted"] = shirted;
  shader.vertexShader = shader.vertexShader
    .replace("#include <common>", "#include <common>\nvarying vec3 vAt;")
    .replace("#include <begin_vertex>", "#include <begin_vertex>\nvAt = position;");
  const given = "#include <common>\nvarying vec3 vAt;\nuniform float shirted;";
  shader.fragmentShader = shader.fragmentShader.replace("#include <common>", given);
}

/** Skin also knows how far it is under a collar, by an attribute of its vertices. */
function fade(shader: WebGLProgramParametersWithUniforms): void {
  place(shader);
  shader.vertexShader = shader.vertexShader
    .replace("varying vec3 vAt;", "varying vec3 vAt;\nattribute float under;\nvarying float vUnder;")
    .replace("vAt = position;", "vAt = position;\nvUnder = under;");
  shader.fragmentShader = shader.fragmentShader.replace(
    "varying vec3 vAt;",
    "varying vec3 vAt;\nvarying float vUnder;",
  );
  shader.fragmentShader = shader.fragmentShader
    .replace("#include <clipping_planes_fragment>", `${FADE}\n${SOLID}`)
    .replace("#include <opaque_fragment>", "diffuseColor.a *= faded;\n#include <opaque_fragment>");
}

/** Put a picture on a material, or take it off. */
export function applyPicture(
  material: MeshPhysicalMaterial,
  use: "base_colour" | "normals",
  texture: Texture | null,
): void {
  const slot = use === "normals" ? "normalMap" : "map";
  if (texture !== null) texture.colorSpace = use === "normals" ? NoColorSpace : SRGBColorSpace;
  const appeared = (material[slot] === null) !== (texture === null);
  material[slot] = texture;
  if (appeared) material.needsUpdate = true;
}

/** Plain cloth, which ends softly below what is seen at first. */
export function clothMaterial(colour: number, plaster: boolean): MeshPhysicalMaterial {
  const material = new MeshPhysicalMaterial({
    name: "shirt",
    color: plaster ? PLASTER : new Color(colour),
    roughness: 0.95,
    metalness: 0,
    specularIntensity: 0.2,
    vertexColors: true,
    transparent: true,
    side: DoubleSide,
  });
  if (!plaster) Object.assign(material, { sheen: 0.25, sheenRoughness: 0.6, sheenColor: new Color(0xffffff) });
  material.onBeforeCompile = (shader) => {
    place(shader);
    shader.fragmentShader = shader.fragmentShader.replace("#include <alphatest_fragment>", CLOTH_FADE);
  };
  material.customProgramCacheKey = () => "shirt";
  return material;
}
