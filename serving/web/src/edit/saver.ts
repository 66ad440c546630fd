/** Keeps the service's copy of a character as the person sees it, a moment after each edit. */

import type { Difference, Settings } from "./settings";
import { difference, same, without } from "./settings";

export type SaveState = "saved" | "waiting" | "saving" | "failed";

const DELAY = 900;
/** Milliseconds until what failed is tried again: so long at first, twice as long each time, never longer than that. */
const FIRST_RETRY = 4_000;
const LAST_RETRY = 60_000;

export class Saver {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private running: Promise<void> | null = null;
  private wanted: Settings;
  private retry = FIRST_RETRY;

  /**
   * @param saved what the service has, as far as that is known.
   * @param send gives the service new values.
   * @param tell called with every change of state; the error where sending failed.
   * @param passes whether the same may succeed later, after this error: then it is tried again by itself.
   */
  constructor(
    private saved: Settings,
    private readonly send: (edit: Difference) => Promise<unknown>,
    private readonly tell: (state: SaveState, error?: unknown) => void,
    private readonly passes: (error: unknown) => boolean = () => false,
  ) {
    this.wanted = saved;
  }

  /** These settings are to be saved soon. */
  want(settings: Settings): void {
    this.wanted = settings;
    if (same(this.saved, settings) && this.running === null) {
      clearTimeout(this.timer);
      this.tell("saved");
      return;
    }
    this.tell("waiting");
    this.saveIn(DELAY);
  }

  /** Save now what is wanted. Throws what the service answered when that failed. */
  async flush(): Promise<void> {
    clearTimeout(this.timer);
    while (this.running !== null) await this.running.catch(() => undefined);
    if (same(this.saved, this.wanted)) return;
    this.running = this.save(this.wanted);
    try {
      await this.running;
    } finally {
      this.running = null;
    }
    if (!same(this.saved, this.wanted)) await this.flush();
  }

  /** Send nothing any more: what was to be changed is gone. */
  stop(): void {
    clearTimeout(this.timer);
    this.wanted = { parameters: {}, discrete: {} };
  }

  private saveIn(milliseconds: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.flush().catch(() => undefined), milliseconds);
  }

  private tryLater(): void {
    this.saveIn(this.retry);
    this.retry = Math.min(2 * this.retry, LAST_RETRY);
  }

  private async save(settings: Settings): Promise<void> {
    this.tell("saving");
    const edit = difference(this.saved, settings);
    try {
      await this.send(edit);
    } catch (error) {
      // Its answer may be all that was lost: whatever is wanted of these next is sent, what they were before, too.
      this.saved = without(this.saved, edit);
      this.tell("failed", error);
      if (this.passes(error)) this.tryLater();
      throw error;
    }
    this.saved = settings;
    this.retry = FIRST_RETRY;
    this.tell("saved");
  }
}
