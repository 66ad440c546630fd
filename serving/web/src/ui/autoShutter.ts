/** When the camera takes the photo by itself: once all was well, and nobody moved, for about a second and a half. */

/** Milliseconds: of calm before the countdown is seen, and of the countdown. */
const CALM = 500;
const COUNTDOWN = 1_100;
/** Mean difference of two looks, of white, above which somebody moves: the noise of a dim camera is less. */
const MOVES = 0.035;
/** A look counts for no longer than this, so that the countdown is seen on a busy machine too. */
const LONGEST = 300;

export class AutoShutter {
  private last: number | null = null;
  private calm = 0;
  private before: Float32Array | null = null;

  /**
   * @param now milliseconds.
   * @param isWell whether light and face are as they should be.
   * @param grey what is seen, of the same size each time.
   * @returns how much of the countdown is over, 0 to 1; at 1 the photo is taken.
   */
  look(now: number, isWell: boolean, grey: Float32Array): number {
    const moves = this.before !== null && difference(grey, this.before) > MOVES;
    this.before = grey;
    const passed = this.last === null ? 0 : Math.min(now - this.last, LONGEST);
    this.last = isWell && !moves ? now : null;
    this.calm = this.last === null ? 0 : this.calm + passed;
    return Math.min(1, Math.max(0, (this.calm - CALM) / COUNTDOWN));
  }
}

function difference(one: Float32Array, other: Float32Array): number {
  return one.reduce((sum, value, at) => sum + Math.abs(value - other[at]!), 0) / one.length;
}
