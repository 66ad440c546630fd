/** What this tab remembers of a character, so that reloading the page loses nothing that the service does not know. */

import { tabStorage } from "../storage";
import type { Settings } from "./settings";

/** The other reading of the same photo, a character of its own. */
export interface OtherReading {
  id: string;
  read: Settings;
}

/** What a tab knows of a character. */
export interface Remembered {
  /** What the photo gave; null where this tab does not know. */
  read: Settings | null;
  /** The aligned face, a data URL. */
  aligned: string | null;
  other: OtherReading | null;
  /** Whether this is the reading that was searched, not the first one. */
  isCloser: boolean;
}

const NOTHING: Remembered = { read: null, aligned: null, other: null, isCloser: false };

const keyOf = (id: string): string => `likeness.character.${id}`;

export class StoredSession {
  constructor(
    readonly id: string,
    readonly known: Remembered,
  ) {}

  save(): void {
    tabStorage.setItem(keyOf(this.id), JSON.stringify(this.known));
  }

  /** With what it knows of the other reading. */
  remove(): void {
    for (const id of this.ids) tabStorage.removeItem(keyOf(id));
  }

  /** Every character that was made of the photo. */
  get ids(): string[] {
    return this.known.other === null ? [this.id] : [this.id, this.known.other.id];
  }
}

/** The character that an address like `/#hT4Rk1` names; null where it names none. */
export function storedSession(hash: string): StoredSession | null {
  const id = hash.replace(/^#/, "");
  if (!/^[\w-]+$/.test(id)) return null;
  const text = tabStorage.getItem(keyOf(id));
  return new StoredSession(id, text === null ? NOTHING : { ...NOTHING, ...(JSON.parse(text) as Partial<Remembered>) });
}
