/** The files of a character, behind one button. */

import type { Character } from "../api/client";
import { messageFor } from "../api/messages";
import { element, freshId, icon, save } from "./dom";
import { t } from "../language";

interface Kind {
  label: string;
  about: string;
  ending: string;
  link: (character: Character) => string | null | undefined;
}

const KINDS: readonly Kind[] = [
  {
    label: t("3D model"),
    about: t(".glb with all sliders as morph targets, for Blender, Unity, Unreal, Godot"),
    ending: "glb",
    link: ({ links }) => links.glb,
  },
  {
    label: t("Avatar"),
    about: t(".vrm, for programs that show avatars"),
    ending: "vrm",
    link: ({ links }) => links.vrm,
  },
  {
    label: t("MakeHuman model"),
    about: t(".mhm, to go on in MakeHuman"),
    ending: "mhm",
    link: ({ links }) => links.mhm,
  },
  {
    label: t("Parameters"),
    about: t("character.json, for the game and the likeness command"),
    ending: "json",
    link: ({ links }) => links.self,
  },
  {
    label: t("Picture"),
    about: t(".png, drawn by the game's engine"),
    ending: "png",
    link: ({ links }) => links.png && `${links.png}?size=1024`,
  },
];

export class Downloads {
  readonly root: HTMLElement;
  private readonly button: HTMLButtonElement;
  private readonly menu: HTMLElement;

  /** @param fetched the file at an address, of what is seen now. */
  constructor(private readonly fetched: (address: string) => Promise<Blob>) {
    const id = freshId("downloads");
    this.menu = element("div", { class: "menu", id, hidden: true });
    this.button = element(
      "button",
      {
        type: "button",
        class: "primary",
        "aria-expanded": "false",
        "aria-controls": id,
        onclick: () => this.open(this.menu.hidden),
      },
      icon("download"),
      element("span", {}, t("Download")),
    );
    this.root = element(
      "div",
      {
        class: "downloads",
        hidden: true,
        onkeydown: (event: KeyboardEvent) => event.key === "Escape" && this.close(),
        onfocusout: (event: FocusEvent) => !this.root.contains(event.relatedTarget as Node | null) && this.open(false),
      },
      this.button,
      this.menu,
    );
    document.addEventListener("pointerdown", (event) => !this.root.contains(event.target as Node) && this.open(false));
  }

  show(character: Character | null): void {
    this.root.hidden = character === null;
    if (character !== null) this.menu.replaceChildren(...KINDS.map((kind) => this.entry(kind, character)));
  }

  private entry({ label, about, ending, link }: Kind, character: Character): HTMLElement {
    const address = link(character);
    const words = element("span", { role: "status" }, address ? about : t("not offered for this character"));
    const button = element(
      "button",
      { type: "button", class: "entry", disabled: !address },
      element("strong", {}, label),
      words,
    );
    if (address)
      button.addEventListener(
        "click",
        () =>
          void this.download(
            button,
            words,
            address,
            `${ending === "json" ? "character" : `likeness-${character.id.slice(0, 6)}`}.${ending}`,
          ),
      );
    return button;
  }

  /** @param words where to say that it failed: the menu stays open, so that the same can be tried again. */
  private async download(button: HTMLButtonElement, words: HTMLElement, address: string, name: string): Promise<void> {
    button.setAttribute("aria-busy", "true");
    button.classList.remove("failed");
    try {
      save(await this.fetched(address), name);
      this.close();
    } catch (error) {
      const { title, again } = messageFor(error);
      words.textContent = t(again ? "Failed. {title}. Press once more to try again." : "Failed. {title}.", { title });
      button.classList.add("failed");
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  private open(isOpen: boolean): void {
    this.menu.hidden = !isOpen;
    this.button.setAttribute("aria-expanded", String(isOpen));
  }

  private close(): void {
    if (this.menu.contains(document.activeElement)) this.button.focus();
    this.open(false);
  }
}
