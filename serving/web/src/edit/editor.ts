/** The character under the person's hands: what was read from the photo, what it is set to now, and the way back. */

import { History } from "./history";
import { changed, restored, type Settings } from "./settings";

export class Editor {
  private readonly history: History<Settings>;
  private readonly listeners = new Set<() => void>();

  /** `read` is what the photo gave: what reset goes back to. */
  constructor(
    readonly read: Settings,
    now: Settings = read,
  ) {
    this.history = new History(now);
  }

  get now(): Settings {
    return this.history.state;
  }

  get canUndo(): boolean {
    return this.history.canUndo;
  }

  get canRedo(): boolean {
    return this.history.canRedo;
  }

  /** Sliders and groups that are not as the photo gave them. */
  get changed(): Set<string> {
    return changed(this.read, this.now);
  }

  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }

  /** Moves of one slider are one step until `settle`. */
  slide(name: string, value: number): void {
    this.take({ ...this.now, parameters: { ...this.now.parameters, [name]: value } }, name);
  }

  settle(): void {
    this.history.seal();
  }

  choose(group: string, choice: string): void {
    if (this.now.discrete[group] === choice) return;
    this.take({ ...this.now, discrete: { ...this.now.discrete, [group]: choice } });
  }

  /** All of it at once, as one step. */
  set(settings: Settings): void {
    if (changed(this.now, settings).size > 0) this.take(settings);
  }

  /** Put these sliders and groups back as the photo gave them; all, where none are named. */
  reset(names: Iterable<string> = this.changed): void {
    this.set(restored(this.now, this.read, names));
  }

  undo(): void {
    this.history.undo();
    this.tell();
  }

  redo(): void {
    this.history.redo();
    this.tell();
  }

  private take(settings: Settings, mark: string | null = null): void {
    this.history.take(settings, mark);
    this.tell();
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }
}
