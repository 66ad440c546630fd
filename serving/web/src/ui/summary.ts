/** What the photo gave: the aligned face, what could be better about it, how long it is kept. */

import type { Character } from "../api/client";
import { remarkMessage } from "../api/messages";
import { element } from "./dom";

const GOOD = "A clear photo: nothing stood in the way.";

/**
 * @param aligned the face, a data URL; null where it is no longer known.
 * @param compare the person wants to see photo and head beside each other.
 * @param erase the person wants the character to be gone.
 */
export function summary(
  character: Character,
  aligned: string | null,
  compare: () => void,
  erase: () => void,
): HTMLElement {
  const { photo, provenance, expires } = character;
  const remarks = (photo.remarks ?? []).map(remarkMessage);
  const face =
    aligned === null
      ? null
      : element(
          "button",
          {
            type: "button",
            class: "face",
            "aria-label": "Compare with the photo",
            title: "Compare with the photo",
            onclick: compare,
          },
          element("img", { src: aligned, alt: "" }),
        );
  const until = new Date(expires).toLocaleDateString("en", { day: "numeric", month: "long" });
  return element(
    "div",
    { class: "summary" },
    face,
    element(
      "div",
      {},
      element("h1", { tabindex: -1 }, "Read from your photo"),
      ...(remarks.length === 0
        ? [element("p", {}, GOOD)]
        : remarks.map((words) => element("p", { class: "remark" }, words))),
      element(
        "p",
        { class: "fine" },
        `Kept until ${until}, model ${provenance.version}. `,
        element("button", { type: "button", class: "link", onclick: erase }, "Erase it now"),
      ),
    ),
  );
}
