/** The few characters that the photo may be of, as pictures to choose from. */

import { differences, type Candidate } from "../edit/candidates";
import type { Settings } from "../edit/settings";
import { element, freshId } from "./dom";
import { t } from "../language";

export interface CandidateEvents {
  choose: (candidate: Candidate) => void;
  /** A picture of it; null where none can be had. */
  draw: (candidate: Candidate) => Promise<Blob | null>;
}

export class CandidateGrid {
  readonly root: HTMLElement;
  private readonly inputs: HTMLInputElement[] = [];

  constructor(
    private readonly candidates: readonly Candidate[],
    events: CandidateEvents,
  ) {
    const name = freshId("candidates");
    const tiles = candidates.map((candidate) => this.tile(candidate, name, events));
    this.root = element(
      "fieldset",
      { class: "choices candidates" },
      element("legend", { class: "slider-head" }, element("span", {}, t("Which is most like you?"))),
      element("div", { class: "grid" }, ...tiles.map(({ tile }) => tile)),
    );
    void drawn(tiles, events);
  }

  show({ discrete }: Settings): void {
    this.candidates.forEach((candidate, at) => {
      this.inputs[at]!.checked = [...candidate].every(([group, choice]) => discrete[group] === choice.name);
    });
  }

  private tile(candidate: Candidate, name: string, events: CandidateEvents): Tile {
    const input = element("input", { type: "radio", name, class: "unseen", onchange: () => events.choose(candidate) });
    this.inputs.push(input);
    const read = this.candidates[0]!;
    const words = differences(candidate, read).map(({ label }) => label);
    const picture = element("img", { class: "thumbnail waiting", alt: "", width: 256, height: 256 });
    const label = element("span", { class: "tile-label" }, words.length === 0 ? t("As read") : words.join(" · "));
    return { candidate, picture, tile: element("label", { class: "tile" }, input, picture, label) };
  }
}

interface Tile {
  candidate: Candidate;
  picture: HTMLImageElement;
  tile: HTMLElement;
}

/** One after the other: they are a help, and others may wait for the engine. */
async function drawn(tiles: readonly Tile[], { draw }: CandidateEvents): Promise<void> {
  for (const { candidate, picture } of tiles) {
    const drawing = await draw(candidate).catch(() => null);
    picture.classList.remove("waiting");
    if (drawing === null) continue;
    const address = URL.createObjectURL(drawing);
    picture.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    picture.src = address;
  }
}
