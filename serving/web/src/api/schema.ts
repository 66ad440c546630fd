/** What /v1/schema says: the sliders and choices of the character, and how to draw it. */

import type { Basis } from "../figure/formula";

export interface Part {
  name: string;
  label: string;
}

export interface Slider {
  name: string;
  label: string;
  part: string;
  neutral: number;
  reach: number;
  negative: string | null;
  positive: string | null;
  /** What 0 and 1 mean, in a word each. */
  ends?: [string, string] | null;
}

export interface Choice {
  name: string;
  label: string;
  thumbnail: string | null;
  /** "#rrggbb", for choices of a colour. */
  colour?: string | null;
}

export interface Group {
  name: string;
  label: string;
  part?: string | null;
  neutral: string;
  choices: Choice[];
}

/** Geometry that depends on one group at most. */
export interface Piece {
  name: string;
  url: string;
  group: string | null;
  /** Choices for which there is nothing to draw. */
  absent: string[];
}

/** A picture that depends on groups, and on sliders in steps. */
export interface Picture {
  name: string;
  url: string;
  use: "base_colour" | "normals";
  materials: string[];
  groups: string[];
  sliders: { name: string; step: number }[];
  absent: Record<string, string[]>;
}

export interface Figure extends Omit<Basis, "sliders"> {
  version: string;
  /** The camera of the game's own picture, which the aligned photo lies over. `fov` in degrees, of a square. */
  camera: { position: [number, number, number]; fov: number };
  pieces: Piece[];
  textures: Picture[];
}

export interface Schema {
  character: string;
  label: string;
  schema_md5: string;
  parts: Part[];
  sliders: Slider[];
  groups: Group[];
  figure: Figure | null;
}
