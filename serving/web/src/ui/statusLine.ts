/** The line beside the name: whether what was changed is saved, and what else there is to say. Neither hides the other. */

import { element } from "./dom";
import { t } from "../language";

export class StatusLine {
  readonly root: HTMLElement;
  private readonly saving = element("span", { role: "status" });
  private readonly message = element("span", { role: "status" });

  constructor() {
    this.root = element("div", { class: "status" }, this.saving, this.message);
  }

  /** What is going on; "": nothing. `again`: what to do about it. `quietly`: it goes by itself once it was read. */
  tell(words: string, again: (() => void) | null = null, quietly = false): void {
    say(this.message, words, again, quietly);
  }

  /** The same of saving, which stays whatever else is said. */
  tellSaving(words: string, again: (() => void) | null = null, quietly = false): void {
    say(this.saving, words, again, quietly);
  }
}

function say(place: HTMLElement, words: string, again: (() => void) | null, quietly: boolean): void {
  const retry = again && element("button", { type: "button", class: "link", onclick: again }, t("Try again"));
  // Emptied first, so that an animation that has run runs once more.
  place.classList.remove("quietly");
  place.replaceChildren(words, ...(retry === null ? [] : [" ", retry]));
  if (!quietly) return;
  void place.offsetWidth;
  place.classList.add("quietly");
}
