/** The characters that were made in this browser, as links. */

import type { Shelf } from "../edit/shelf";
import { element } from "./dom";
import { dateOf, t } from "../language";

export class ShelfList {
  readonly root = element("section", { class: "shelf", hidden: true });

  constructor(private readonly shelf: Shelf) {
    this.update();
  }

  update(): void {
    const { kept } = this.shelf;
    this.root.hidden = kept.length === 0;
    const tiles = kept.map(({ id, expires, picture }) => {
      const until = t("until {day}", { day: dateOf(expires, "short") });
      const seen = element(picture === null ? "span" : "img", { class: "thumbnail", alt: "", src: picture });
      return element(
        "li",
        {},
        element("a", { class: "tile", href: `#${id}` }, seen, element("span", { class: "tile-label" }, until)),
      );
    });
    this.root.replaceChildren(
      element("h2", {}, t("Your characters")),
      element("ul", {}, ...tiles),
      element(
        "p",
        {},
        t("Only this browser remembers them."),
        " ",
        element("button", { type: "button", class: "link", onclick: () => this.forget() }, t("Forget them")),
      ),
    );
  }

  private forget(): void {
    this.shelf.clear();
    this.update();
  }
}
