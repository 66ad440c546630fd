/** Asks which of several faces in a photo is meant: each is a button on the photo. */

import type { Box } from "../photo";
import { asked, element } from "./dom";
import { t } from "../language";

/** The number of the face that was tapped; 0, the one that was taken, where the dialog was closed. */
export async function chooseFace(picture: ImageBitmap, boxes: readonly Box[]): Promise<number> {
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
