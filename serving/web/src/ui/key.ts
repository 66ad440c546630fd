/** Asks for the key of a service that wants one. */

import { asked, element, freshId } from "./dom";

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
  const cancel = element("button", { type: "button", class: "quiet", onclick: close }, "Not now");
  const words = wrong
    ? "That key was not accepted. Check it, and try once more."
    : "This service is for people who were given a key. It is kept until you close this tab.";
  const form = element(
    "form",
    { method: "dialog" },
    element("h2", {}, "Access key"),
    element("p", {}, words),
    element("label", { for: id, class: "unseen" }, "Access key"),
    field,
    element(
      "div",
      { class: "dialog-foot" },
      cancel,
      element("button", { class: "primary", value: "given" }, "Continue"),
    ),
  );
  return (await asked(form)) === "given" ? field.value.trim() : null;
}
