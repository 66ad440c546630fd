/** A picture to show around: the head, beside it the photo where the person wants that. */

import { element } from "./dom";
import { t } from "../language";

const [WIDTH, HEIGHT] = [1200, 630];
const MARGIN = 56;
const PAPER = ["#e9eeeb", "#ccd6d1", "#9fb0a8"] as const;
const INK = "#121a17";

export class Card {
  readonly canvas = element("canvas", { width: WIDTH, height: HEIGHT, role: "img", class: "card-picture" });

  /** @param photo null: the head alone, in the middle. */
  draw(head: ImageBitmap, photo: ImageBitmap | null): void {
    const context = this.canvas.getContext("2d");
    if (context === null) return;
    const light = context.createRadialGradient(WIDTH / 2, HEIGHT * 0.4, 0, WIDTH / 2, HEIGHT * 0.4, WIDTH * 0.62);
    PAPER.forEach((colour, at) => light.addColorStop([0, 0.5, 1][at]!, colour));
    context.fillStyle = light;
    context.fillRect(0, 0, WIDTH, HEIGHT);
    const side = HEIGHT - MARGIN;
    context.drawImage(head, photo === null ? (WIDTH - side) / 2 : WIDTH - MARGIN - side, MARGIN, side, side);
    if (photo !== null) {
      const size = HEIGHT - 2.5 * MARGIN;
      context.save();
      context.beginPath();
      context.roundRect(MARGIN, MARGIN, size, size, 40);
      context.clip();
      context.drawImage(photo, MARGIN, MARGIN, size, size);
      context.restore();
    }
    context.fillStyle = INK;
    context.font = '600 30px "Instrument Sans Variable", system-ui, sans-serif';
    context.fillText("likeness", MARGIN, HEIGHT - 30);
    this.canvas.setAttribute("aria-label", photo === null ? t("The head") : t("Your photo and the head"));
  }

  blob(): Promise<Blob | null> {
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
  }
}
