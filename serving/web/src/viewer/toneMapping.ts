/** How light becomes a picture: the engine's own curve (`tone_map` in engine/kernels/light.py), so that looks match. */

import { ShaderChunk } from "three";

const NONE = "vec3 CustomToneMapping( vec3 color ) { return color; }";
// Linear up to .6, then a soft shoulder, so that highlights do not clip to white at once; shown as its square root.
const ENGINE = `vec3 CustomToneMapping( vec3 color ) {
	vec3 value = color * toneMappingExposure;
	vec3 over = max( value - 0.6, 0.0 ) * 2.5;
	vec3 soft = mix( max( value, 0.0 ), 0.6 + 0.4 * over / ( 1.0 + over ), step( 0.6, value ) );
	return pow( soft, vec3( 1.1 ) );
}`;

/** Have three.js's CustomToneMapping be the engine's. To be called before the first material is compiled. */
export function useEngineToneMapping(): void {
  ShaderChunk.tonemapping_pars_fragment = ShaderChunk.tonemapping_pars_fragment.replace(NONE, ENGINE);
}
