/** What this tab remembers of a character, so that reloading the page loses nothing that the service does not know. */

import type { Settings } from "./settings";

interface Remembered {
  read: Settings;
  aligned: string | null;
}

const place = (id: string): string => `likeness.character.${id}`;

export class Visit {
  /**
   * @param read what the photo gave; null where this tab does not know.
   * @param aligned the aligned face, a data URL.
   */
  constructor(
    readonly id: string,
    readonly read: Settings | null,
    readonly aligned: string | null,
  ) {}

  remember(): void {
    try {
      sessionStorage.setItem(place(this.id), JSON.stringify({ read: this.read, aligned: this.aligned }));
    } catch {
      // Private windows may have no storage: the page works, and forgets on reload.
    }
  }

  forget(): void {
    sessionStorage.removeItem(place(this.id));
  }
}

/** The character that an address like `/#hT4Rk1` names; null where it names none. */
export function visitIn(hash: string): Visit | null {
  const id = hash.replace(/^#/, "");
  if (!/^[\w-]+$/.test(id)) return null;
  const text = sessionStorage.getItem(place(id));
  const remembered = text === null ? null : (JSON.parse(text) as Remembered);
  return new Visit(id, remembered?.read ?? null, remembered?.aligned ?? null);
}
