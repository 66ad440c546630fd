/** A photo from the camera, in a dialog with an oval that says where the face should be. */

import { element, icon } from "./dom";
import { AutoShutter } from "./autoShutter";
import { faceIn, type Place } from "./faceFilter";
import { greyOf, lightOf, type Light } from "./lightMeter";
import { t } from "../language";
import { browserStorage } from "../storage";

export const hasCamera = (): boolean => Boolean(navigator.mediaDevices?.getUserMedia);

const DENIED = t(
  "The browser may not use the camera. Allow it in the browser's settings for this page, or choose a photo instead.",
);
const LIGHTS: Readonly<Record<Light, string>> = {
  good: t("Good light. Look straight ahead, fill the oval, and keep a calm face."),
  dark: t("It is dark. Turn to a window or a lamp."),
  bright: t("It is too bright. Step out of the strong light."),
  backlit: t("The light is behind you. Turn around, towards it."),
  "one-sided": t("The light comes from one side. Turn your face to it."),
};
const PLACES: Readonly<Record<Exclude<Place, "good" | "none">, string>> = {
  far: t("Good light. Come closer, until your face fills the oval."),
  near: t("Good light. A little farther away, so that your face fits the oval."),
};
const HOLD = t("Hold still: the photo is taken by itself.");
/** Milliseconds between two looks; what three in a row say is told. */
const LOOKS_EVERY = 200;
const ALIKE = 3;
const LOOK = { width: 64, height: 80 };
const AUTOMATIC = "likeness.shutter";
const MISSING = t("No camera was found, or another program is using it.");

export class CameraDialog {
  private readonly video = element("video", {
    playsinline: true,
    muted: true,
    autoplay: true,
    "aria-label": t("What the camera sees"),
  });
  private readonly message = element("p", { class: "camera-message", role: "status" });
  private readonly shutter = element("button", {
    type: "button",
    class: "shutter",
    "aria-label": t("Take the photo"),
    onclick: () => void this.shoot(),
  });
  /** Whether the photo is taken by itself once all is well. */
  private readonly automatic = element(
    "button",
    {
      type: "button",
      class: "chip automatic",
      "aria-pressed": String(browserStorage.getItem(AUTOMATIC) !== "off"),
      title: t("Takes the photo by itself, once light and face are well and nobody moves"),
      onclick: () => this.switch(),
    },
    t("Automatic"),
  );
  private readonly dialog: HTMLDialogElement;
  private stream: MediaStream | null = null;
  private looking: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly taken: (photo: Blob) => void) {
    const close = element(
      "button",
      { type: "button", class: "round", "aria-label": t("Close the camera"), onclick: () => this.dialog.close() },
      icon("close"),
    );
    this.dialog = element(
      "dialog",
      { class: "camera", "aria-label": t("Take a photo"), onclose: () => this.stop() },
      element("div", { class: "viewfinder" }, this.video, element("i", { class: "oval" })),
      this.message,
      element("div", { class: "camera-foot" }, close, this.shutter, this.automatic),
    );
    document.body.append(this.dialog);
  }

  async open(): Promise<void> {
    this.message.textContent = t("Look straight ahead, with light on your face.");
    this.shutter.disabled = true;
    this.dialog.showModal();
    try {
      const wanted = { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } };
      const stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
      this.stream = stream;
      // The person may have closed the dialog while the browser asked.
      if (!this.dialog.open) return this.stop();
      this.video.srcObject = stream;
      await this.video.play();
      this.shutter.disabled = false;
      this.shutter.focus();
      this.guide();
    } catch (error) {
      const denied = error instanceof DOMException && error.name === "NotAllowedError";
      this.message.textContent = denied ? DENIED : MISSING;
    }
  }

  /** Say what could be better, and take the photo once nothing could, until the dialog is closed. */
  private guide(): void {
    const context = element("canvas", LOOK).getContext("2d", { willReadFrequently: true });
    const shutter = new AutoShutter();
    let [said, times] = ["", 0];
    this.looking = setInterval(() => {
      const { videoWidth: width, videoHeight: height } = this.video;
      if (context === null || width === 0) return;
      // The middle of the film in the shape of the viewfinder, as it is shown.
      const [wide, high] = [Math.min(width, 0.8 * height), Math.min(height, width / 0.8)];
      const from = [(width - wide) / 2, (height - high) / 2, wide, high] as const;
      context.drawImage(this.video, ...from, 0, 0, LOOK.width, LOOK.height);
      const grey = greyOf(context.getImageData(0, 0, LOOK.width, LOOK.height).data);
      const light = lightOf(grey, LOOK.width, LOOK.height);
      const place = light === "good" ? faceIn(grey, LOOK.width, LOOK.height) : "none";
      const isWell = place === "good" && this.isAutomatic;
      const over = shutter.look(performance.now(), isWell, grey);
      this.shutter.style.setProperty("--over", String(over));
      const words = over > 0 ? HOLD : place === "far" || place === "near" ? PLACES[place] : LIGHTS[light];
      times = words === said ? times + 1 : 1;
      said = words;
      if ((over > 0 || times >= ALIKE) && this.message.textContent !== words) this.message.textContent = words;
      if (over === 1) void this.shoot();
    }, LOOKS_EVERY);
  }

  private get isAutomatic(): boolean {
    return this.automatic.getAttribute("aria-pressed") === "true";
  }

  private switch(): void {
    const now = !this.isAutomatic;
    this.automatic.setAttribute("aria-pressed", String(now));
    browserStorage.setItem(AUTOMATIC, now ? "on" : "off");
  }

  private async shoot(): Promise<void> {
    clearInterval(this.looking);
    const { videoWidth: width, videoHeight: height } = this.video;
    const canvas = element("canvas", { width, height });
    canvas.getContext("2d")?.drawImage(this.video, 0, 0);
    const photo = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.94));
    this.dialog.close();
    if (photo !== null) this.taken(photo);
  }

  private stop(): void {
    clearInterval(this.looking);
    this.shutter.style.setProperty("--over", "0");
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
  }
}
