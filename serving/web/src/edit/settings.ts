/** What a character is set to. */

export interface Settings {
  parameters: Readonly<Record<string, number>>;
  discrete: Readonly<Record<string, string>>;
}

/** What an edit asks the service for: only what differs. */
export interface Difference {
  parameters: Record<string, number>;
  discrete: Record<string, string>;
}

// Sliders have a hundred steps a side; anything nearer is the same value.
const SAME = 1e-4;

export function difference(from: Settings, to: Settings): Difference {
  const parameters = Object.entries(to.parameters).filter(([name, value]) => !near(from.parameters[name], value));
  const discrete = Object.entries(to.discrete).filter(([name, choice]) => from.discrete[name] !== choice);
  return { parameters: Object.fromEntries(parameters), discrete: Object.fromEntries(discrete) };
}

/** Settings with these values in the place of theirs. */
export function edited(settings: Settings, { parameters, discrete }: Difference): Settings {
  return {
    parameters: { ...settings.parameters, ...parameters },
    discrete: { ...settings.discrete, ...discrete },
  };
}

/** What is left of settings without those that an edit sets. */
export function without({ parameters, discrete }: Settings, edit: Difference): Settings {
  const others = <T>(values: Readonly<Record<string, T>>, dropped: object): Record<string, T> =>
    Object.fromEntries(Object.entries(values).filter(([name]) => !(name in dropped)));
  return { parameters: others(parameters, edit.parameters), discrete: others(discrete, edit.discrete) };
}

/** Names of the sliders and groups that differ. */
export function changed(from: Settings, to: Settings): Set<string> {
  const { parameters, discrete } = difference(from, to);
  return new Set([...Object.keys(parameters), ...Object.keys(discrete)]);
}

export function same(one: Settings, other: Settings): boolean {
  return changed(one, other).size === 0;
}

/** `settings`, with the named sliders and groups as they are in `source`. */
export function restored(settings: Settings, source: Settings, names: Iterable<string>): Settings {
  const parameters = { ...settings.parameters };
  const discrete = { ...settings.discrete };
  for (const name of names) {
    const [value, choice] = [source.parameters[name], source.discrete[name]];
    if (value !== undefined) parameters[name] = value;
    if (choice !== undefined) discrete[name] = choice;
  }
  return { parameters, discrete };
}

function near(one: number | undefined, other: number): boolean {
  return one !== undefined && Math.abs(one - other) < SAME;
}
