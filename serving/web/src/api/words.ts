/** What went wrong, or could be better, in words for the person before the screen. */

import { Refused, Unreachable, type Remark } from "./client";

export interface Advice {
  title: string;
  advice: string;
  /** Whether the same again may work; otherwise another photo is needed. */
  again: boolean;
}

const BY_KIND: Readonly<Record<string, Advice>> = {
  "no-face": {
    title: "No face found",
    advice: "Use a photo in which the whole face is seen from the front, well lit and not too small.",
    again: false,
  },
  "bad-image": {
    title: "This file is not a photo we can read",
    advice: "JPEG, PNG, WebP and HEIC work. If it is one of these, it may be damaged: save it again, or take another.",
    again: false,
  },
};

const BY_STATUS: Readonly<Record<number, Advice>> = {
  401: { title: "An access key is needed", advice: "Ask whoever runs this service for a key, then try again.", again: true },
  403: { title: "This key may not do that", advice: "Ask whoever runs this service for another key.", again: true },
  404: {
    title: "This character is gone",
    advice: "Characters are kept for a few days only. Use the photo again to make a new one.",
    again: false,
  },
  408: { title: "The upload took too long", advice: "Check your connection and try again, or use a smaller photo.", again: true },
  413: { title: "The photo is too large", advice: "Use a smaller version: 2000 pixels a side are plenty.", again: false },
  415: BY_KIND["bad-image"]!,
  422: { title: "This photo cannot be used", advice: "Try another one.", again: false },
  429: { title: "Many people are here right now", advice: "Wait a moment, then try again.", again: true },
  503: { title: "The service is not ready", advice: "It is starting or very busy. Try again in a moment.", again: true },
};

const UNKNOWN: Advice = {
  title: "Something went wrong on our side",
  advice: "Try again. If it happens once more, tell whoever runs this service.",
  again: true,
};

/** What to tell of an error. What the service says itself is kept where it adds something. */
export function adviceFor(error: unknown): Advice {
  if (error instanceof Unreachable) {
    return { title: "The service cannot be reached", advice: "Check your connection. Nothing you changed is lost; try again.", again: true };
  }
  if (!(error instanceof Refused)) return UNKNOWN;
  return BY_KIND[error.kind] ?? BY_STATUS[error.status] ?? { ...UNKNOWN, title: error.problem.title ?? UNKNOWN.title };
}

const REMARKS: Readonly<Record<string, string>> = {
  several_faces: "There are several faces; we took the largest. Crop the photo if it should be another.",
  side_view: "The head is turned to the side. A photo from the front shows more of the face.",
  tilted: "The head is tilted up or down. Level with the camera works best.",
  small_face: "The face is small in this photo. Coming closer gives more detail.",
  blurred: "The photo is a little blurred, so fine details may be off.",
  dark: "It is rather dark. Light from the front helps.",
  overexposed: "It is very bright, so some of the face is washed out.",
};

/** A kind word on what may make the character less alike. */
export function kindly(remark: Remark): string {
  const words = REMARKS[remark.code];
  return words ?? `${remark.text.charAt(0).toUpperCase()}${remark.text.slice(1)}.`;
}
