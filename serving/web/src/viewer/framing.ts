/** How the camera sees the head. Lengths in pixels of the page, angles in degrees. */

import type { GameCamera } from "../api/schema";

export const DEGREES = 180 / Math.PI;

/** The field of view of the game's own square picture. */
export function gameFov({ width, distance }: GameCamera): number {
  return 2 * DEGREES * Math.atan(width / 2 / distance);
}

/** Where the game's camera is, the eyes being the origin; it looks straight ahead. Metres. */
export function gamePosition({ width, distance, level }: GameCamera): [number, number, number] {
  return [0, -(0.5 - level) * width, distance];
}

/**
 * The vertical field of view of a viewer in which a square of this side shows what `fov` shows of a square picture: so
 * the head lies exactly over the aligned photo when that is laid over the square.
 */
export function viewerFov(fov: number, square: number, height: number): number {
  return 2 * DEGREES * Math.atan((Math.tan(fov / 2 / DEGREES) * height) / square);
}

/** The side of the square that the photo is laid over: clear of what stands above and below. */
export function photoSquare(width: number, height: number): number {
  const room = height < 560 ? 58 : 84;
  return Math.floor(Math.max(80, Math.min(width * 0.92, height - 2 * room)));
}

/** Where a turntable that sways stands after some seconds: degrees to the side. */
export function sway(seconds: number): number {
  return 26 * Math.sin((seconds * 2 * Math.PI) / 9) * Math.min(1, seconds / 2);
}
