/** How fine the picture is drawn: as fine as the screen, coarser while a slow machine cannot keep up with what moves. */

/** Milliseconds between frames above which it is coarser, and below which it may be finer again. */
const SLOW = 42;
const QUICK = 20;
/** A longer gap is no slow frame, but a pause between two movements. */
const PAUSE = 700;
const COARSEST = 0.4;
const STEP = 0.75;
/** Frames that are looked at together. */
const FRAMES = 4;

export class AdaptiveResolution {
  /** What the screen's pixel ratio is multiplied by while something moves. */
  share = 1;
  private last: number | null = null;
  private gaps: number[] = [];

  /** A frame was drawn at this time, in milliseconds. True when the share changed. */
  frame(now: number): boolean {
    const gap = this.last === null ? PAUSE : now - this.last;
    this.last = now;
    if (gap >= PAUSE) {
      this.gaps = [];
      return false;
    }
    this.gaps.push(gap);
    if (this.gaps.length < FRAMES) return false;
    const mean = this.gaps.reduce((sum, each) => sum + each, 0) / FRAMES;
    this.gaps = [];
    const before = this.share;
    if (mean > SLOW) this.share = Math.max(COARSEST, this.share * STEP);
    else if (mean < QUICK) this.share = Math.min(1, this.share / STEP);
    return this.share !== before;
  }
}
