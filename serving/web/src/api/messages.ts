/** Messages for the person before the screen: what went wrong, and what could be better. */

import { LONGEST_PAUSE, Refused, Unreachable, type Character, type Remark } from "./client";
import { inTime, t } from "../language";

export interface Message {
  title: string;
  advice: string;
  /** Whether the same again may work; otherwise another photo is needed. */
  again: boolean;
}

const OTHER_PHOTO = t(
  "JPEG, PNG, WebP and HEIC work. If it is one of these, it may be damaged: save it again, or take another.",
);

// By the last word of the problem's type (serving/problems.py).
const BY_KIND: Readonly<Record<string, Message>> = {
  "no-face": {
    title: t("No face found"),
    advice: t("Use a photo in which the whole face is seen from the front, well lit and not too small."),
    again: false,
  },
  "not-an-image": { title: t("This file is not a picture"), advice: OTHER_PHOTO, again: false },
  "bad-photo": { title: t("This photo cannot be read"), advice: OTHER_PHOTO, again: false },
  "too-large": {
    title: t("The photo is too large"),
    advice: t("Use a smaller version: 2000 pixels a side are plenty."),
    again: false,
  },
  "no-key": {
    title: t("An access key is needed"),
    advice: t("Ask whoever runs this service for one, then try again."),
    again: true,
  },
  "unknown-character": {
    title: t("This character is gone"),
    advice: t("Characters are kept for a few days only. Use the photo again to make a new one."),
    again: false,
  },
  "unknown-code": {
    title: t("No such code"),
    advice: t("It may be mistyped, or too old: codes are good for a day. Ask for a new one."),
    again: false,
  },
  "over-limit": { title: t("The limit for now is reached"), advice: t("Wait a minute, then try again."), again: true },
  "too-many-codes": { title: t("Too many wrong codes"), advice: t("Wait a minute, then try again."), again: true },
  "cannot-draw": {
    title: t("The character creator has changed"),
    advice: t("This character was made with an older one. Use the photo again to make it anew."),
    again: false,
  },
  "cannot-refine": {
    title: t("No closer search for this character"),
    advice: t("Its game draws it, or an older model read it. Change it by hand."),
    again: false,
  },
  "one-photo": {
    title: t("One photo at a time"),
    advice: t("This service cannot read several photos together yet. Choose the one that shows the face best."),
    again: false,
  },
  busy: { title: t("Many people are here right now"), advice: t("Wait a moment, then try again."), again: true },
  timeout: { title: t("It took too long"), advice: t("The service is very busy. Try again in a moment."), again: true },
  "in-progress": { title: t("It took too long"), advice: t("Try again in a moment."), again: true },
  "no-model": { title: t("The service is still starting"), advice: t("Try again in a moment."), again: true },
  "no-storage": {
    title: t("The service cannot store anything now"),
    advice: t("Tell whoever runs it, and try again later."),
    again: true,
  },
  "model-died": { title: t("This photo was too much for us"), advice: t("Use another one."), again: false },
};

// For what stands between this page and the service, and has no type.
const BY_STATUS: Readonly<Record<number, Message>> = {
  408: {
    title: t("The upload took too long"),
    advice: t("Check your connection and try again, or use a smaller photo."),
    again: true,
  },
  413: BY_KIND["too-large"]!,
  429: BY_KIND["busy"]!,
  502: { title: t("The service is away for a moment"), advice: t("Try again shortly."), again: true },
  503: BY_KIND["no-model"]!,
  504: BY_KIND["timeout"]!,
};

const UNKNOWN: Message = {
  title: t("Something went wrong on our side"),
  advice: t("Try again. If it happens once more, tell whoever runs this service."),
  again: true,
};

/** What to tell of an error. What the service says itself is kept where it adds something. */
export function messageFor(error: unknown): Message {
  if (error instanceof Unreachable) {
    return {
      title: t("The service cannot be reached"),
      advice: t("Check your connection. Nothing you changed is lost; try again."),
      again: true,
    };
  }
  if (!(error instanceof Refused)) return UNKNOWN;
  const { kind, status, problem, retryAfter } = error;
  const message = BY_KIND[kind] ?? BY_STATUS[status] ?? { ...UNKNOWN, title: problem.title ?? UNKNOWN.title };
  const isLong = retryAfter !== null && retryAfter > LONGEST_PAUSE;
  return isLong ? { ...message, advice: t("Try again {when}.", { when: inTime(retryAfter) }) } : message;
}

/** Glasses of this probability are there; of a smaller one it is asked for them (`edit/doubts.ts`). */
const WORN = 0.5;

const REMARKS: Readonly<Record<string, string>> = {
  doubtful_face: t("We are not sure that this is a face, or which way up. An upright photo from the front works best."),
  several_faces: t("There are several faces; we took the largest. Crop the photo if it should be another."),
  side_view: t("The head is turned to the side. A photo from the front shows more of the face."),
  tilted: t("The head is tilted up or down. Level with the camera works best."),
  small_face: t("The face is small in this photo. Coming closer gives more detail."),
  blurred: t("The photo is a little blurred, so fine details may be off."),
  dark: t("It is rather dark. Light from the front helps."),
  overexposed: t("It is very bright, so some of the face is washed out."),
  grey: t("The photo has no colours: those of skin, hair and eyes are guessed."),
  wide_smile: t("You smile widely, which changes cheeks, eyes and mouth. A calm face is read best."),
  mask: t(
    "Something covers your mouth: mouth and chin are guessed. Use a photo without a mask, hand or scarf before it.",
  ),
  hair_before_face: t(
    "Hair hangs before your face: what it hides is guessed. A photo with it brushed aside shows more.",
  ),
  glasses: t(
    "Your glasses hide some of the eyes and brows: a photo without them shows more. They can be taken off here.",
  ),
  sunglasses: t("Sunglasses hide your eyes and brows, which are guessed: use a photo without them."),
};

/** What may make the character less alike, of what it wears. */
export function wornRemarks({ discrete }: Character): Remark[] {
  const { choice = "none", probabilities = {} } = discrete["glasses"] ?? {};
  if (choice === "none" || (probabilities[choice] ?? 0) < WORN) return [];
  return [{ code: /^(aviator|wayfarer|sun)/.test(choice) ? "sunglasses" : "glasses", text: "glasses" }];
}

/** What may make the character less alike. */
export function remarkMessage(remark: Remark): string {
  const text = REMARKS[remark.code];
  return text ?? `${remark.text.charAt(0).toUpperCase()}${remark.text.slice(1)}.`;
}
