/**
 * What the page keeps in the browser. A frame, a web view or a private window may have no storage, or no room in it: then
 * it is kept as long as the page is open.
 */

export class BrowserStorage {
  /** @param find throws, or finds null, where there is no storage. */
  constructor(
    private readonly find: () => Storage | null,
    /** What no storage took. */
    readonly memory = new Map<string, string>(),
  ) {}

  getItem(key: string): string | null {
    return this.memory.get(key) ?? this.tried((storage) => storage.getItem(key)) ?? null;
  }

  setItem(key: string, value: string): void {
    const isStored = this.tried((storage) => {
      storage.setItem(key, value);
      return true;
    });
    if (isStored) this.memory.delete(key);
    else this.memory.set(key, value);
  }

  removeItem(key: string): void {
    this.memory.delete(key);
    this.tried((storage) => storage.removeItem(key));
  }

  private tried<T>(use: (storage: Storage) => T): T | null {
    try {
      const storage = this.find();
      return storage && use(storage);
    } catch {
      return null;
    }
  }
}

const handed = takeHanded();
/** What all tabs of this browser have. */
export const browserStorage = new BrowserStorage(() => localStorage, handed.browser);
/** What this tab alone has. */
export const tabStorage = new BrowserStorage(() => sessionStorage, handed.tab);

/** Load the page again, which gets what only this page's memory has: a token, say, that is in the address no more. */
export function reload(): void {
  history.replaceState({ browser: browserStorage.memory, tab: tabStorage.memory }, "");
  location.reload();
}

function takeHanded(): { browser?: Map<string, string>; tab?: Map<string, string> } {
  const state = globalThis.history?.state as ReturnType<typeof takeHanded> | null | undefined;
  if (state) history.replaceState(null, "");
  return state ?? {};
}
