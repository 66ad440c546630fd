/** The head where this browser cannot draw it: the service's own picture, new after every save. */

import { element } from "../ui/dom";

export class Still {
  private readonly picture = element("img", {
    class: "still",
    alt: "Your character, drawn by the service",
    hidden: true,
  });
  private readonly words = element("p", { class: "still-words" });
  private address: string | null = null;

  constructor(container: HTMLElement, words: string) {
    this.words.textContent = words;
    container.append(this.picture, this.words);
  }

  show(picture: Blob): void {
    if (this.address !== null) URL.revokeObjectURL(this.address);
    this.address = URL.createObjectURL(picture);
    this.picture.src = this.address;
    this.picture.hidden = false;
  }
}
