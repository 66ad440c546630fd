/** One character under change: what was read, what it is now, where it is saved, and what shows it. */

import { mayPass, patiently, type Character, type Client } from "./api/client";
import type { Schema } from "./api/schema";
import { candidatesOf, type Candidate } from "./edit/candidates";
import { doubtsOf, type Doubt } from "./edit/doubts";
import { Editor } from "./edit/editor";
import { Saver, type SaveState } from "./edit/saver";
import { difference, edited, type Difference, type Settings } from "./edit/settings";
import { StoredSession, type Remembered } from "./edit/sessionStore";
import { Ideas } from "./ui/ideas";
import { Panel, type Extra } from "./ui/panel";
import { t } from "./language";

/** Pixels of a candidate's picture. */
const PICTURE = 256;
const NOBODY = (): void => undefined;

export interface SessionEvents {
  /** Something was changed, undone or reset. */
  changed: () => void;
  saved: (state: SaveState, error?: unknown) => void;
}

export class Session {
  readonly editor: Editor;
  readonly panel: Panel;
  readonly doubts: readonly Doubt[];
  readonly stored: StoredSession;
  private readonly ended = new AbortController();
  private readonly saver: Saver;

  /**
   * @param known what the photo gave, and what else this tab remembers.
   * @param edits what is changed by hand, whatever the service has; null: as the service has it.
   * @param extras more tabs, after those of the parts.
   */
  constructor(
    readonly character: Character,
    known: Remembered & { read: Settings },
    schema: Schema,
    client: Client,
    events: SessionEvents,
    edits: Difference | null,
    extras: readonly Extra[],
  ) {
    const { read } = known;
    const saved = settingsOf(character);
    this.editor = new Editor(read, edits === null ? saved : read);
    if (edits !== null) this.editor.set(edited(read, edits));
    this.saver = new Saver(saved, (edit) => client.edit(character.id, edit), events.saved, mayPass);
    const sure = (group: string, choice: string): number | null =>
      character.discrete[group]?.probabilities?.[choice] ?? null;
    this.doubts = doubtsOf(schema, character);
    const candidates = character.links.webp ? candidatesOf(this.doubts, character) : [];
    const draw = (candidate: Candidate): Promise<Blob> => {
      const choices = [...candidate].map(([group, { name }]) => [group, name] as const);
      const settings = edited(read, { parameters: {}, discrete: Object.fromEntries(choices) });
      return patiently(() => client.render(settings, PICTURE, this.ended.signal), NOBODY, this.ended.signal);
    };
    const random = async (): Promise<Settings> => settingsOf(await client.random());
    const ideas = { name: "ideas", label: t("Ideas"), root: new Ideas(schema, this.editor, random).root };
    const evidence = { sure, doubts: this.doubts, candidates, draw };
    this.panel = new Panel(schema, this.editor, evidence, [ideas, ...extras]);
    this.stored = new StoredSession(character.id, known);
    this.stored.save();
    this.editor.onChange(() => {
      this.panel.update();
      this.saver.want(this.editor.now);
      events.changed();
    });
  }

  /** What was changed by hand. */
  get edits(): Difference {
    return difference(this.editor.read, this.editor.now);
  }

  /** Save soon what the service does not have. */
  saveSoon(): void {
    this.saver.want(this.editor.now);
  }

  /** Save at once what is not saved. Throws what the service answered when that failed. */
  save(): Promise<void> {
    return this.saver.flush();
  }

  /** The same where nobody waits for it; `saved` is told of a failure. */
  saveBehind(): void {
    void this.saver.flush().catch(() => undefined);
  }

  /** It is seen no more: what was only to be looked at is not waited for. */
  end(): void {
    this.ended.abort();
  }

  /** The service has it no more: nothing is saved from now on. */
  forget(): void {
    this.saver.stop();
    this.stored.remove();
  }
}

/** What a character's document sets. */
export function settingsOf({ parameters, discrete }: Pick<Character, "parameters" | "discrete">): Settings {
  const choices = Object.entries(discrete).map(([group, { choice }]) => [group, choice] as const);
  return { parameters, discrete: Object.fromEntries(choices) };
}

/** What the photo gave: what the document sets, with what it had where it was changed by hand since. */
export function readOf(character: Character): Settings {
  return edited(settingsOf(character), character.read ?? { parameters: {}, discrete: {} });
}

/** The head that is nobody's. */
export function averageOf({ sliders, groups }: Schema): Settings {
  return {
    parameters: Object.fromEntries(sliders.map(({ name, neutral }) => [name, neutral])),
    discrete: Object.fromEntries(groups.map(({ name, neutral }) => [name, neutral])),
  };
}
