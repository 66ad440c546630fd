/** Steps that can be undone and done again. */

const STEPS = 200;

export class History<State> {
  private readonly past: State[] = [];
  private future: State[] = [];
  private lastMark: string | null = null;

  constructor(private present: State) {}

  get state(): State {
    return this.present;
  }

  get canUndo(): boolean {
    return this.past.length > 0;
  }

  get canRedo(): boolean {
    return this.future.length > 0;
  }

  /** A new step. Steps in a row with the same mark are one: a key held down on one slider is undone at once. */
  take(state: State, mark: string | null = null): void {
    if (mark === null || mark !== this.lastMark) {
      this.past.push(this.present);
      if (this.past.length > STEPS) this.past.shift();
    }
    this.lastMark = mark;
    this.present = state;
    this.future = [];
  }

  /** The next step is one of its own, whatever its mark. */
  seal(): void {
    this.lastMark = null;
  }

  undo(): State {
    const state = this.past.pop();
    if (state !== undefined) {
      this.future.push(this.present);
      this.present = state;
    }
    this.seal();
    return this.present;
  }

  redo(): State {
    const state = this.future.pop();
    if (state !== undefined) {
      this.past.push(this.present);
      this.present = state;
    }
    this.seal();
    return this.present;
  }
}
