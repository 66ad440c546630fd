/** The ways to show a character to others: its link, the same as a code for a phone, and a card to download. */

import { Card } from "./card";
import { asked, element, freshId, save } from "./dom";
import { messageFor } from "../api/messages";
import { t } from "../language";

export interface Shared {
  link: string;
  /** Until when the link works, in the person's words. */
  until: string;
  /** A short code for the same, and until when it works. */
  code: () => Promise<{ code: string; until: string }>;
  /** The aligned face, a data URL; null where it is not known. */
  photo: string | null;
  /** The head before nothing; null where none is drawn. */
  head: (() => Promise<Blob>) | null;
}

/** Addresses that only this machine knows. */
const HERE = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/** Until the dialog is closed. */
export async function share(shared: Shared): Promise<void> {
  const isHere = HERE.test(new URL(shared.link).hostname);
  const code = element("div", { class: "share-code" });
  if (!isHere) void import("./qr").then(({ qr }) => code.append(qr(shared.link)));
  const about = isHere
    ? t("The link works on this machine only: another cannot reach this address.")
    : t("Whoever has the link can see this character, and change it, until {day}.", { day: shared.until });
  const form = element(
    "form",
    { method: "dialog", class: "share" },
    element("h2", {}, t("Share this character")),
    element(
      "div",
      { class: "share-link" },
      code,
      element("div", {}, linkRow(shared.link), element("p", {}, about), codePart(shared.code)),
    ),
    shared.head === null ? null : cardPart(shared.head, shared.photo),
    element("div", { class: "dialog-foot" }, element("button", { class: "quiet", value: "" }, t("Close"))),
  );
  await asked(form);
}

function linkRow(link: string): HTMLElement {
  const field = element("input", {
    type: "text",
    value: link,
    readonly: true,
    "aria-label": t("Link"),
    autofocus: true,
  });
  field.addEventListener("focus", () => field.select());
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(link);
      button.textContent = t("Copied");
    } catch {
      // Without the right to, or over plain http: it is marked, and the keyboard does it.
      field.focus();
      button.textContent = t("Press Ctrl+C");
    }
    setTimeout(() => (button.textContent = t("Copy")), 2500);
  };
  const button = element(
    "button",
    { type: "button", class: "primary", "aria-live": "polite", onclick: () => void copy() },
    t("Copy"),
  );
  return element("div", { class: "link-row" }, field, button);
}

function codePart(made: Shared["code"]): HTMLElement {
  const words = element("p", { role: "status" });
  const button = element(
    "button",
    { type: "button", class: "secondary", onclick: () => void get() },
    t("Get a short code"),
  );
  const get = async (): Promise<void> => {
    button.disabled = true;
    try {
      const { code, until } = await made();
      button.replaceWith(element("output", { class: "short-code", "aria-label": t("Short code") }, code));
      words.textContent = t("To read aloud, or to type into the game or this page, until {day}.", { day: until });
    } catch (error) {
      words.textContent = t("No code. {title}.", { title: messageFor(error).title });
      button.disabled = false;
    }
  };
  return element("div", { class: "share-short" }, button, words);
}

function cardPart(head: () => Promise<Blob>, photo: string | null): HTMLElement {
  const card = new Card();
  const id = freshId("card");
  const withPhoto = element("input", { type: "checkbox", id });
  const message = element("p", { role: "status" }, t("Drawing the card"));
  const download = element("button", { type: "button", class: "secondary", disabled: true }, t("Download the card"));
  let drawn: ImageBitmap | null = null;
  const draw = async (): Promise<void> => {
    try {
      drawn ??= await createImageBitmap(await head());
      const face =
        photo !== null && withPhoto.checked ? await createImageBitmap(await (await fetch(photo)).blob()) : null;
      card.draw(drawn, face);
      card.canvas.hidden = false;
      message.textContent = "";
      download.disabled = false;
    } catch (error) {
      message.textContent = t("No card. {title}.", { title: messageFor(error).title });
    }
  };
  withPhoto.addEventListener("change", () => void draw());
  download.addEventListener("click", () => void card.blob().then((file) => file && save(file, "likeness-card.png")));
  card.canvas.hidden = true;
  void draw();
  return element(
    "div",
    { class: "share-card" },
    card.canvas,
    message,
    element(
      "div",
      { class: "share-foot" },
      photo === null ? null : element("label", { class: "consent", for: id }, withPhoto, t("With my photo")),
      download,
    ),
  );
}
