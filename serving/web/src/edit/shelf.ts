/** The characters that were made in this browser, until each expires: nothing but their numbers and a small picture. */

export interface Kept {
  id: string;
  /** ISO 8601. */
  expires: string;
  /** A data URL; null where there is none. */
  picture: string | null;
}

const KEY = "likeness.shelf";
const MOST = 12;

export class Shelf {
  constructor(private readonly storage: Pick<Storage, "getItem" | "setItem">) {}

  /** Those that are not expired, the newest first. */
  get kept(): Kept[] {
    try {
      const found = JSON.parse(this.storage.getItem(KEY) ?? "[]") as Kept[];
      return found.filter(({ expires }) => Date.parse(expires) > Date.now());
    } catch {
      return [];
    }
  }

  /** Put a character first; a picture that it has stays. */
  put(id: string, expires: string): void {
    const before = this.kept.find((one) => one.id === id);
    this.write([{ id, expires, picture: before?.picture ?? null }, ...this.kept.filter((one) => one.id !== id)]);
  }

  /** What it looks like now. Of one that is not there, nothing is kept. */
  picture(id: string, picture: string): void {
    this.write(this.kept.map((one) => (one.id === id ? { ...one, picture } : one)));
  }

  remove(ids: readonly string[]): void {
    this.write(this.kept.filter(({ id }) => !ids.includes(id)));
  }

  clear(): void {
    this.write([]);
  }

  private write(kept: readonly Kept[]): void {
    this.storage.setItem(KEY, JSON.stringify(kept.slice(0, MOST)));
  }
}
