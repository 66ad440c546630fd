/** What the photo gave: the aligned face, what could be better about it, a closer search, how long it is kept. */

import type { Character } from "../api/client";
import { remarkMessage, wornRemarks } from "../api/messages";
import { element } from "./dom";
import { dateOf, language, listOf, t } from "../language";

const GOOD = t("A clear photo: nothing stood in the way.");
const SEARCH = t("Search closer");
const SEARCH_HINT = t("A few seconds: the character is drawn again and again, until it is most like your photo");
const BACK = t("Back to the first reading");

export interface SummaryEvents {
  /** Photo and head are to be seen beside each other. */
  compare: () => void;
  /** The other reading of the photo is wanted: the closer one, or the first. */
  other: () => Promise<void>;
}

/**
 * @param aligned the face, a data URL; null where it is no longer known.
 * @param open what the photo leaves open, in the person's words.
 * @param reading which reading of the photo this is; null where there is no other to be had.
 */
export function summary(
  character: Character,
  aligned: string | null,
  open: readonly string[],
  reading: "first" | "closer" | null,
  events: SummaryEvents,
): HTMLElement {
  const remarks = [...(character.photo.remarks ?? []), ...wornRemarks(character)].map(remarkMessage);
  const photos = character.photos ?? [];
  const unusable = photos.filter((photo) => "error" in photo).length;
  const left = t("{count, plural, one {One of your {all} photos} other {# of your {all} photos}} could not be used.", {
    count: unusable,
    all: photos.length,
  });
  if (unusable > 0) remarks.unshift(left);
  const read = photos.length > 1 ? t("Read from your photos") : t("Read from your photo");
  return element(
    "div",
    { class: "summary" },
    aligned === null ? null : face(aligned, events.compare),
    element(
      "div",
      {},
      element("h1", { tabindex: -1 }, reading === "closer" ? t("Searched from your photo") : read),
      ...remarks.map((words) => element("p", { class: "remark" }, words)),
      remarks.length === 0 && open.length === 0 ? element("p", {}, GOOD) : null,
      open.length === 0
        ? null
        : element("p", {}, t("It leaves {groups} open: choose what fits.", { groups: listed(open) })),
      reading === null ? null : other(reading, events.other),
    ),
  );
}

/** How long it is kept, and the way to be rid of it: below all else, so that no key comes upon it first. */
export function keeping({ provenance, expires }: Character, erase: () => void): HTMLElement {
  return element(
    "p",
    { class: "keeping" },
    t("Kept until {day}, model {version}.", { day: dateOf(expires), version: provenance.version }),
    " ",
    element("button", { type: "button", class: "link", onclick: erase }, t("Erase it now")),
  );
}

function face(aligned: string, compare: () => void): HTMLElement {
  const words = t("Compare with the photo");
  return element(
    "button",
    { type: "button", class: "face", "aria-label": words, title: words, onclick: compare },
    element("img", { src: aligned, alt: "" }),
  );
}

/** The way to the other reading, which may take seconds. */
function other(reading: "first" | "closer", act: () => Promise<void>): HTMLElement {
  const [words, hint] = reading === "first" ? [SEARCH, SEARCH_HINT] : [BACK, null];
  const ask = async (): Promise<void> => {
    button.disabled = true;
    if (reading === "first") button.replaceChildren(t("Searching"), element("i", { class: "at-work" }));
    await act();
    button.disabled = false;
    button.replaceChildren(words);
  };
  const button = element(
    "button",
    { type: "button", class: "secondary closer", title: hint, "aria-live": "polite", onclick: () => void ask() },
    words,
  );
  return element("p", {}, button);
}

/** "skin tone, hair and beard"; of many, the first three. */
function listed(names: readonly string[]): string {
  // "Skin tone, dark to light" is the skin tone here.
  const short = names.map((name) => name.split(/[,、，]/)[0] ?? name);
  return listOf((short.length > 4 ? [...short.slice(0, 3), t("more")] : short).map(inSentence));
}

/** As it is written within a sentence: German nouns stay as they are. */
function inSentence(name: string): string {
  return language() === "de" ? name : name.charAt(0).toLowerCase() + name.slice(1);
}
