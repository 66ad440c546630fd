/** The head where this browser cannot draw it: the service's own picture, new after every save. */

import { element } from "../ui/dom";
import { t } from "../language";

export class FallbackImage {
  private readonly picture = element("img", {
    class: "fallback-image",
    alt: t("Your character, drawn by the service"),
    hidden: true,
  });
  private readonly message = element("p", { class: "fallback-message" });
  private address: string | null = null;

  constructor(container: HTMLElement, message: string) {
    this.message.textContent = message;
    container.append(this.picture, this.message);
  }

  show(picture: Blob): void {
    if (this.address !== null) URL.revokeObjectURL(this.address);
    this.address = URL.createObjectURL(picture);
    this.picture.src = this.address;
    this.picture.hidden = false;
  }
}
