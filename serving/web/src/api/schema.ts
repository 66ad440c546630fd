/** What /v1/schema says: the sliders and choices of the character, and how to draw it. */

import type { components } from "../api";

type Schemas = components["schemas"];

export type Schema = Schemas["SchemaDocument"];
export type Part = Schemas["Part"];
export type Slider = Schemas["PublishedSlider"];
export type Group = Schemas["PublishedGroup"];
export type Choice = Schemas["PublishedChoice"];
export type Figure = Schemas["Figure"];
export type Piece = Schemas["Piece"];
export type Picture = Schemas["Texture"];
export type GameCamera = Schemas["Camera"];
/** A schema of a character that this page can draw. */
export type DrawableSchema = Schema & { figure: Figure };
