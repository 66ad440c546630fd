/** Photos in the browser: made smaller where the service takes no larger ones, and one face cut out of several. */

import type { PhotoFile } from "./api/client";
import { element } from "./ui/dom";

/** Pixels of the longer side of a photo that was shrunk: more than any face in it is read with. */
const SIDE = 2560;
const QUALITY = 0.92;
const TRIES = 5;
/** How far around a face a photo is cut, as a share of the face's longer side: hair and ears are in it. */
const AROUND = 0.75;

/** left, top, right, bottom in pixels of the upright photo. */
export type Box = readonly [number, number, number, number];

/** The photo upright and small enough; as it is where this browser cannot read it. */
export async function shrunk(photo: Blob, most: number): Promise<Blob> {
  const picture = await bitmapOf(photo);
  if (picture === null) return photo;
  let side = Math.min(SIDE, Math.max(picture.width, picture.height));
  for (let tries = 0; tries < TRIES; tries++, side *= 0.7) {
    const scale = side / Math.max(picture.width, picture.height);
    const smaller = await encoded(picture.width * scale, picture.height * scale, (context, width, height) =>
      context.drawImage(picture, 0, 0, width, height),
    );
    if (smaller !== null && smaller.size <= most) return smaller;
  }
  return photo;
}

/**
 * The photos, each with at most so many bytes.
 *
 * @param all also those that have fewer are made smaller, for a service that takes less than it says.
 */
export async function within(files: readonly PhotoFile[], most: number, all = false): Promise<readonly PhotoFile[]> {
  return Promise.all(
    files.map(async (photo) => {
      const { file } = photo;
      return all || file.size > most ? { ...photo, file: await shrunk(file, Math.min(most, file.size)) } : photo;
    }),
  );
}

/** One face of a photo with what is around it; other faces are painted over, so that none of them is read instead. */
export async function cutOut(picture: ImageBitmap, boxes: readonly Box[], taken: number): Promise<Blob | null> {
  const part = around(boxes[taken]!, AROUND, picture);
  const own = around(boxes[taken]!, 0.12, picture);
  return encoded(part[2] - part[0], part[3] - part[1], (context) => {
    context.translate(-part[0], -part[1]);
    context.drawImage(picture, 0, 0);
    context.fillStyle = "#808080";
    boxes.forEach((box, at) => {
      if (at !== taken) context.fillRect(...place(around(box, 0.12, picture)));
    });
    context.drawImage(picture, ...place(own), ...place(own));
  });
}

/** Null where this browser cannot read it, as Chromium cannot read HEIC. */
export async function bitmapOf(photo: Blob): Promise<ImageBitmap | null> {
  return createImageBitmap(photo).catch(() => null);
}

/** A box that is larger by a share of its longer side, in whole pixels, within a picture. */
export function around(
  [left, top, right, bottom]: Box,
  share: number,
  { width, height }: { width: number; height: number },
): Box {
  const more = share * Math.max(right - left, bottom - top);
  return [
    Math.max(0, Math.floor(left - more)),
    Math.max(0, Math.floor(top - more)),
    Math.min(width, Math.ceil(right + more)),
    Math.min(height, Math.ceil(bottom + more)),
  ];
}

function place([left, top, right, bottom]: Box): [number, number, number, number] {
  return [left, top, right - left, bottom - top];
}

async function encoded(
  wide: number,
  high: number,
  draw: (context: CanvasRenderingContext2D, width: number, height: number) => void,
): Promise<Blob | null> {
  const [width, height] = [Math.max(1, Math.round(wide)), Math.max(1, Math.round(high))];
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d");
  if (context === null) return null;
  draw(context, width, height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}
