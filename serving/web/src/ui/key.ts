/** Asks for the key of a service that wants one. */

import { asked, element, freshId } from "./dom";
import { t } from "../language";

/** What the person gave; null when they closed the dialog. `wrong`: the key before was refused. */
export async function askForKey(wrong: boolean): Promise<string | null> {
  const id = freshId("key");
  const field = element("input", {
    type: "password",
    id,
    autocomplete: "current-password",
    required: true,
    spellcheck: "false",
  });
  const close = (): void => form.closest("dialog")?.close();
  const cancel = element("button", { type: "button", class: "quiet", onclick: close }, t("Not now"));
  const words = wrong
    ? t("That key was not accepted. Check it, and try once more.")
    : t("This service is for people who were given a key. It is kept until you close this tab.");
  const form = element(
    "form",
    { method: "dialog" },
    element("h2", {}, t("Access key")),
    element("p", {}, words),
    element("label", { for: id, class: "unseen" }, t("Access key")),
    field,
    element(
      "div",
      { class: "dialog-foot" },
      cancel,
      element("button", { class: "primary", value: "given" }, t("Continue")),
    ),
  );
  return (await asked(form)) === "given" ? field.value.trim() : null;
}
