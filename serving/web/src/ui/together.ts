/** Asks whether several photos are of one person; each can be left out. */

import type { PhotoFile } from "../api/client";
import { asked, element } from "./dom";
import { t } from "../language";

/**
 * The photos that are of one person; none where the dialog was closed.
 *
 * @param most as many as the service takes: the first ones, until others are chosen.
 */
export async function chooseTogether(photos: readonly PhotoFile[], most: number): Promise<PhotoFile[]> {
  const addresses = photos.map(({ file }) => URL.createObjectURL(file));
  const boxes = photos.map((_, at) =>
    element("input", { type: "checkbox", checked: at < most, "aria-label": t("Photo {number}", { number: at + 1 }) }),
  );
  const chosen = (): PhotoFile[] => photos.filter((_, at) => boxes[at]!.checked);
  const go = element("button", { class: "primary", value: "yes", autofocus: true });
  const update = (): void => {
    const count = chosen().length;
    go.disabled = count === 0;
    go.textContent = t("{count, plural, one {Use this one} other {Yes, use these #}}", { count });
    for (const box of boxes) box.disabled = !box.checked && count >= most;
  };
  const tiles = addresses.map((src, at) =>
    // Some browsers cannot show what the service can read: its name is there instead.
    element("label", { class: "one-of-them" }, boxes[at]!, element("img", { src, alt: photos[at]!.name })),
  );
  const limit = photos.length > most ? t("At most {count}.", { count: most }) : "";
  const form = element(
    "form",
    { method: "dialog", class: "together", onchange: update },
    element("h2", {}, t("Are these one person?")),
    element(
      "p",
      {},
      t("Then they make one character: light, pose and expression of a single photo weigh less."),
      ` ${t("Tap a photo to leave it out.")} ${limit}`,
    ),
    element("div", { class: "them" }, ...tiles),
    element("div", { class: "dialog-foot" }, element("button", { class: "quiet", value: "" }, t("Cancel")), go),
  );
  update();
  const answer = await asked(form);
  addresses.forEach((address) => URL.revokeObjectURL(address));
  return answer === "yes" ? chosen() : [];
}
