/** From slider values to the weights of the morph targets, as `figure.formula` of /v1/schema says it in words. */

export interface SliderTargets {
  name: string;
  neutral: number;
  reach: number;
  negative?: string | null;
  positive?: string | null;
}

export interface Basis {
  sliders: readonly SliderTargets[];
  /** A factor that is linear between points [value of the slider, factor]. */
  curves: Readonly<Record<string, { slider: string; points: readonly (readonly [number, number])[] }>>;
  /** A factor that is its slider's share of the sum of all these sliders. */
  shares: Readonly<Record<string, string>>;
  /** Targets that weigh the product of their factors. */
  products: Readonly<Record<string, readonly string[]>>;
  /** Blinks, which weigh more on eyes that are more open. */
  lids: Readonly<Record<string, Lids>>;
}

export interface Lids {
  /** Between the lids at some places of the template's eye. */
  gap: readonly number[];
  /** By how much each target changes it there. */
  targets: Readonly<Record<string, readonly number[]>>;
  limits: readonly [number, number] | readonly number[];
}

export type Values = Readonly<Record<string, number>>;

/** The weight of every target that a slider drives. A slider that `values` lacks is at its neutral value. */
export function targetWeights(basis: Basis, values: Values): Map<string, number> {
  const neutral = new Map(basis.sliders.map((slider) => [slider.name, slider.neutral]));
  const at = (name: string): number => values[name] ?? neutral.get(name) ?? 0;
  const weights = new Map<string, number>();
  for (const slider of basis.sliders) {
    const offset = at(slider.name) - slider.neutral;
    if (slider.positive) {
      weights.set(slider.positive, (slider.reach * Math.max(offset, 0)) / (1 - slider.neutral));
    }
    if (slider.negative) {
      weights.set(slider.negative, (slider.reach * Math.max(-offset, 0)) / slider.neutral);
    }
  }
  const factors = factorsOf(basis, at);
  for (const [target, words] of Object.entries(basis.products)) {
    weights.set(
      target,
      words.reduce((product, word) => product * (factors.get(word) ?? 0), 1),
    );
  }
  return weights;
}

/** By how much more than on the template a blink weighs on a face whose targets have these weights. */
export function openness({ gap, targets, limits }: Lids, weights: ReadonlyMap<string, number>): number {
  const shares = gap.map((closed, place) => {
    let open = closed;
    for (const [target, changes] of Object.entries(targets)) open += (weights.get(target) ?? 0) * (changes[place] ?? 0);
    return open / closed;
  });
  const [least = 0, most = Infinity] = limits;
  return Math.min(Math.max(...shares, least), most);
}

function factorsOf(basis: Basis, at: (slider: string) => number): Map<string, number> {
  const factors = new Map<string, number>();
  for (const [word, curve] of Object.entries(basis.curves))
    factors.set(word, interpolated(curve.points, at(curve.slider)));
  const shares = Object.entries(basis.shares);
  const total = shares.reduce((sum, [, slider]) => sum + at(slider), 0);
  for (const [word, slider] of shares) factors.set(word, total > 1e-6 ? at(slider) / total : 1 / shares.length);
  return factors;
}

/** Linear between points in order of x, constant beyond them. */
export function interpolated(points: readonly (readonly [number, number])[], x: number): number {
  const first = points[0];
  if (first === undefined) return 0;
  let [fromX, fromY] = first;
  if (x <= fromX) return fromY;
  for (const [toX, toY] of points.slice(1)) {
    if (x <= toX) return fromY + ((toY - fromY) * (x - fromX)) / (toX - fromX);
    [fromX, fromY] = [toX, toY];
  }
  return fromY;
}
