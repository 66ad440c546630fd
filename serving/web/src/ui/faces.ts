/** Asks which of several faces in a photo is meant: each is a button on the photo. */

import type { Character, PhotoFile } from "../api/client";
import { bitmapOf, cutOut, type Box } from "../photo";
import { asked, element } from "./dom";
import { t } from "../language";

/** The photos that a character was made of; where one shows several faces, the one that is meant is cut out. */
export async function facesOf(files: readonly PhotoFile[], character: Character): Promise<PhotoFile[]> {
  const found: PhotoFile[] = [];
  const described = character.photos ?? [character.photo];
  for (const [at, photo] of files.entries()) {
    const about = described[at];
    const boxes = (about !== undefined && "boxes" in about ? about.boxes : []) as Box[];
    const picture = boxes.length < 2 ? null : await bitmapOf(photo.file);
    const face = picture === null ? 0 : await chooseFace(picture, boxes);
    const part = picture === null || face === 0 ? null : await cutOut(picture, boxes, face);
    found.push(part === null ? photo : { file: part, name: "face.jpg" });
  }
  return found;
}

/** The number of the face that was tapped; 0, the one that was taken, where the dialog was closed. */
async function chooseFace(picture: ImageBitmap, boxes: readonly Box[]): Promise<number> {
  const canvas = element("canvas", { width: picture.width, height: picture.height, "aria-hidden": "true" });
  canvas.getContext("2d")?.drawImage(picture, 0, 0);
  // The Tab key goes from left to right, as one looks.
  const order = boxes.map((_, at) => at).sort((one, other) => boxes[one]![0] - boxes[other]![0]);
  const buttons = order.map((at, number) => {
    const places = { number: number + 1, count: boxes.length };
    const label = t(
      at === 0 ? "Face {number} of {count} from the left, the largest" : "Face {number} of {count} from the left",
      places,
    );
    const button = element("button", { class: "a-face", value: at, "aria-label": label, autofocus: at === 0 });
    const [left, top, right, bottom] = boxes[at]!;
    const share = (value: number, whole: number): string => `${(100 * value) / whole}%`;
    button.style.left = share(left, picture.width);
    button.style.top = share(top, picture.height);
    button.style.width = share(right - left, picture.width);
    button.style.height = share(bottom - top, picture.height);
    return button;
  });
  const form = element(
    "form",
    { method: "dialog", class: "which-face" },
    element("h2", {}, t("Which face is yours?")),
    element("p", {}, t("There are several in this photo.")),
    element("div", { class: "faces" }, canvas, ...buttons),
  );
  return Number(await asked(form)) || 0;
}
