/** The first thing that is seen: what this is, and where the photo goes; then how far it is; then what went wrong. */

import type { Message } from "../api/messages";
import type { PhotoFile } from "../api/client";
import { CameraDialog, hasCamera } from "./camera";
import { element, freshId, icon } from "./dom";
import { t } from "../language";

// What the service can read; phones offer their photos and camera for it.
const ACCEPTED = "image/jpeg,image/png,image/webp,image/heic,image/heif";

const SHARE = t("Let what I change teach this service");
const SHARED = t(
  "Kept then: the settings before and after, and numbers that describe your face, of which it trains. Never the photo. Erase the character to take it back.",
);

export interface WelcomeEvents {
  /** Photos to read. */
  given: (photos: readonly PhotoFile[]) => void;
  /** The person does not want to wait. */
  stop: () => void;
}

export class Welcome {
  readonly root: HTMLElement;
  private readonly card = element("div", { class: "card" });
  private readonly file: HTMLInputElement;
  private readonly camera: CameraDialog | null;
  private readonly sharing = element("input", { type: "checkbox" });
  private readonly consent = element(
    "label",
    { class: "consent", hidden: true },
    this.sharing,
    element("span", {}, SHARE, element("small", {}, SHARED)),
  );
  private readonly upload = element("progress", { max: 1, value: 0, "aria-label": t("Sent of the photo") });
  private preview: string | null = null;
  /** The way to the character before, if there is one. */
  back: (() => void) | null = null;

  constructor(private readonly events: WelcomeEvents) {
    const id = freshId("photo");
    this.file = element("input", {
      type: "file",
      id,
      accept: ACCEPTED,
      multiple: true,
      class: "unseen",
      tabindex: -1,
      "aria-hidden": "true",
      onchange: () => this.take(),
    });
    this.camera = hasCamera() ? new CameraDialog((file) => events.given([{ file, name: "camera.jpg" }])) : null;
    this.root = element(
      "div",
      { class: "welcome" },
      element("h1", {}, t("Your face,"), element("br"), t("as a character.")),
      element(
        "p",
        { class: "lead" },
        t(
          "Give it one photo. It finds the head, hair and eyes of a game character that look like you, and you change whatever you like.",
        ),
      ),
      this.card,
      this.consent,
      this.file,
    );
    this.invite();
    this.acceptDrops();
  }

  /** Whether the person agreed that changes are kept: only who was asked can have. */
  get shares(): boolean {
    return !this.consent.hidden && this.sharing.checked;
  }

  set shares(agreed: boolean) {
    this.sharing.checked = agreed;
  }

  /** Ask for that, or do not, where the service keeps nothing. */
  askToShare(wanted: boolean): void {
    this.consent.hidden = !wanted;
  }

  browse(): void {
    this.file.click();
  }

  /** Ready for a photo. */
  invite(): void {
    this.forget();
    this.card.className = "card drop";
    this.card.replaceChildren(
      element("p", { class: "drop-words" }, t("Drop a photo anywhere, paste one, or")),
      ...this.ways(),
      element(
        "ul",
        { class: "hints" },
        element("li", {}, t("From the front, eyes open")),
        element("li", {}, t("Even light, nothing before the face")),
        element("li", {}, t("Several photos of you at once count together")),
        element("li", {}, t("The photo is read once and not kept")),
      ),
    );
  }

  /** The photos are on their way. */
  busy(photos: readonly PhotoFile[]): void {
    this.forget();
    this.preview = URL.createObjectURL(photos[0]!.file);
    const sending = t("{count, plural, one {Sending the photo} other {Sending # photos}}", { count: photos.length });
    const picture = element("img", { src: this.preview, alt: t("Your photo"), onerror: () => picture.remove() });
    this.card.className = "card reading";
    this.sent(0);
    this.card.replaceChildren(
      element("div", { class: "scan" }, picture, element("i")),
      element("div", { class: "reading-words" }, element("p", { role: "status" }, sending), this.upload),
      element("button", { type: "button", class: "quiet", onclick: () => this.events.stop() }, t("Cancel")),
    );
  }

  /** How much of the photo is sent, from 0 to 1; then it is read. */
  sent(share: number): void {
    this.upload.value = share;
    this.upload.hidden = share === 1;
    if (share === 1) this.say(t("Reading your face"));
  }

  /** What is being waited for. */
  say(words: string): void {
    const place = this.card.querySelector(".reading-words p");
    if (place !== null) place.textContent = words;
  }

  /** What went wrong and what to do. `again` asks for the same once more. */
  refuse({ title, advice }: Message, again: (() => void) | null): void {
    this.card.className = "card refused";
    const picture =
      this.preview === null ? null : element("img", { class: "refused-photo", src: this.preview, alt: "" });
    picture?.addEventListener("error", () => picture.remove());
    const retry =
      again === null ? null : element("button", { type: "button", class: "primary", onclick: again }, t("Try again"));
    this.card.replaceChildren(
      element(
        "div",
        { class: "refusal", role: "alert" },
        picture ?? "",
        element("div", {}, element("h2", {}, title), element("p", {}, advice)),
      ),
      ...(retry === null ? [] : [element("div", { class: "ways" }, retry)]),
      ...this.ways(retry !== null),
    );
    (retry ?? this.card.querySelector("button"))?.focus({ preventScroll: true });
  }

  private ways(quietly = false): HTMLElement[] {
    const choose = element(
      "button",
      { type: "button", class: quietly ? "secondary" : "primary", onclick: () => this.browse() },
      icon("photo"),
      t("Choose a photo"),
    );
    const shoot = element(
      "button",
      { type: "button", class: "secondary", onclick: () => this.shoot() },
      icon("camera"),
      t("Take one"),
    );
    const { back } = this;
    const before =
      back &&
      element("button", { type: "button", class: "quiet", onclick: back }, icon("undo"), t("Back to the one before"));
    return [element("div", { class: "ways" }, choose, shoot, before)];
  }

  private shoot(): void {
    if (this.camera !== null) {
      void this.camera.open();
      return;
    }
    // Without a camera for pages (plain http), a phone's own camera app does it.
    this.file.setAttribute("capture", "user");
    this.browse();
    this.file.removeAttribute("capture");
  }

  private take(): void {
    this.give([...(this.file.files ?? [])]);
    // So that the same file can be chosen again.
    this.file.value = "";
  }

  /** Of several files only what may be a photo: a folder's notes are none. A single one is refused in words. */
  private give(files: readonly File[]): void {
    const photos = files.length === 1 ? files : files.filter(({ type }) => type === "" || type.startsWith("image/"));
    if (photos.length > 0) this.events.given(photos.map((file) => ({ file, name: file.name || "pasted.png" })));
  }

  private acceptDrops(): void {
    let depth = 0;
    const over = (change: number): void => {
      depth = Math.max(0, depth + change);
      document.body.classList.toggle("dropping", depth > 0);
    };
    addEventListener("dragenter", () => over(1));
    addEventListener("dragleave", () => over(-1));
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      over(-depth);
      this.give([...(event.dataTransfer?.files ?? [])]);
    });
    addEventListener("paste", (event) => {
      this.give([...(event.clipboardData?.files ?? [])].filter(({ type }) => type.startsWith("image/")));
    });
  }

  private forget(): void {
    if (this.preview !== null) URL.revokeObjectURL(this.preview);
    this.preview = null;
  }
}
