/** Actions of the face: weights that its meshes can show, by the engine's rules (engine/expressions.py). */

export type Weights = ReadonlyMap<string, number>;

const SIDES = ["Left", "Right"] as const;
/** What squinting and looking down close of a lid; together with a blink never more than a blink alone. */
const CLOSES = { eyeSquint: 0.56, eyeLookDown: 0.48 } as const;
/** Of two opposites only what one is more than the other. */
const OPPOSITES = { eyeWide: "eyeBlink", mouthFrown: "mouthSmile" } as const;

/** Each action within its limit, lids closed once, lips and tongue out of each other. */
export function possible(weights: Weights, limits: Readonly<Record<string, number>>): Map<string, number> {
  const found = new Map([...weights].map(([name, weight]) => [name, Math.min(weight, limits[name] ?? 1)]));
  const at = (name: string): number => found.get(name) ?? 0;
  for (const side of SIDES) {
    const blink = `eyeBlink${side}`;
    let room = limits[blink] ?? 1;
    for (const [name, share] of Object.entries(CLOSES)) room -= share * at(name + side);
    found.set(blink, Math.min(at(blink), Math.max(room, 0)));
    for (const [name, other] of Object.entries(OPPOSITES)) {
      found.set(name + side, Math.max(at(name + side) - at(other + side), 0));
    }
  }
  found.set("mouthClose", Math.min(at("mouthClose"), at("jawOpen")));
  found.set("tongueOut", Math.min(at("tongueOut"), 2.5 * Math.max(at("jawOpen") - 0.05, 0)));
  return new Map([...found].filter(([, weight]) => weight > 0));
}
