/** Which files the figure needs for given settings. */

import type { Picture, Piece } from "../api/schema";
import type { Settings } from "../edit/settings";

/** Where a piece's geometry is; null when these settings have none. */
export function pieceAddress(piece: Piece, settings: Settings): string | null {
  if (piece.group === null) return piece.url;
  const choice = settings.discrete[piece.group];
  if (choice === undefined || piece.absent.includes(choice)) return null;
  return withParameters(piece.url, [[piece.group, choice]]);
}

/** Where a picture is; null when these settings have none. Sliders are rounded, so that near values share a picture. */
export function pictureAddress(picture: Picture, settings: Settings): string | null {
  for (const [group, choices] of Object.entries(picture.absent)) {
    if (choices.includes(settings.discrete[group] ?? "")) return null;
  }
  const parameters: [string, string][] = picture.groups.map((group) => [group, settings.discrete[group] ?? ""]);
  for (const { name, step } of picture.sliders) {
    const value = Math.round((settings.parameters[name] ?? 0) / step) * step;
    parameters.push([name, Math.min(Math.max(value, 0), 1).toFixed(2)]);
  }
  return withParameters(picture.url, parameters);
}

function withParameters(url: string, parameters: [string, string][]): string {
  const written = parameters.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  return [url, ...written].reduce((address, part) => address + (address.includes("?") ? "&" : "?") + part);
}
