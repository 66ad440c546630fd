/** Asks before what cannot be undone. */

import { asked, element } from "./dom";
import { t } from "../language";

export interface Question {
  title: string;
  words: string;
  /** What the button says that does it. */
  yes: string;
}

/** Whether a dialog is open: what lies behind it waits. */
export function isAsking(): boolean {
  return document.querySelector("dialog[open]") !== null;
}

/** Whether the person wants it. Closing the dialog is a no, and the first thing that the keyboard reaches too. */
export async function confirm({ title, words, yes }: Question): Promise<boolean> {
  const form = element(
    "form",
    { method: "dialog" },
    element("h2", {}, title),
    element("p", {}, words),
    element(
      "div",
      { class: "dialog-foot" },
      element("button", { class: "quiet", value: "no", autofocus: true }, t("Keep it")),
      element("button", { class: "primary", value: "yes" }, yes),
    ),
  );
  return (await asked(form)) === "yes";
}
