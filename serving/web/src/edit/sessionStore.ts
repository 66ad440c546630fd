/** What this tab remembers of a character, so that reloading the page loses nothing that the service does not know. */

import type { Settings } from "./settings";

interface Entry {
  read: Settings;
  aligned: string | null;
}

const keyOf = (id: string): string => `likeness.character.${id}`;

export class StoredSession {
  /**
   * @param read what the photo gave; null where this tab does not know.
   * @param aligned the aligned face, a data URL.
   */
  constructor(
    readonly id: string,
    readonly read: Settings | null,
    readonly aligned: string | null,
  ) {}

  save(): void {
    try {
      sessionStorage.setItem(keyOf(this.id), JSON.stringify({ read: this.read, aligned: this.aligned }));
    } catch {
      // Private windows may have no storage: the page works, and forgets on reload.
    }
  }

  remove(): void {
    sessionStorage.removeItem(keyOf(this.id));
  }
}

/** The character that an address like `/#hT4Rk1` names; null where it names none. */
export function storedSession(hash: string): StoredSession | null {
  const id = hash.replace(/^#/, "");
  if (!/^[\w-]+$/.test(id)) return null;
  const text = sessionStorage.getItem(keyOf(id));
  const entry = text === null ? null : (JSON.parse(text) as Entry);
  return new StoredSession(id, entry?.read ?? null, entry?.aligned ?? null);
}
