/** The page as a whole: from the first photo to the download. */

import { Client, patiently, Refused, type Character, type Photo } from "./api/client";
import type { Schema } from "./api/schema";
import { messageFor } from "./api/messages";
import type { SaveState } from "./edit/saver";
import type { Difference, Settings } from "./edit/settings";
import { storedSession, type Remembered, type StoredSession } from "./edit/sessionStore";
import { averageOf, Session, settingsOf } from "./session";
import { doneButton, embeddingOf, takeToken } from "./embedding";
import type { Head } from "./viewer/head";
import { FallbackImage } from "./viewer/fallbackImage";
import { Compare, type View } from "./ui/compare";
import { confirm, isAsking } from "./ui/confirm";
import { element } from "./ui/dom";
import { Downloads } from "./ui/downloads";
import { askForKey } from "./ui/key";
import { shell, type Shell } from "./ui/shell";
import { summary } from "./ui/summary";
import { Welcome } from "./ui/welcome";

const NO_WEBGL =
  "This browser cannot draw in 3D (WebGL is off or missing), so you see the service's own picture a moment after each change.";
const NO_FIGURE =
  "This character is drawn by its own game: what you change here you see there, or in its picture where it gives one.";
const ERASE = {
  title: "Erase this character?",
  words:
    "It is gone from the service at once, with all that you changed in it and all that you shared of it. Files that you downloaded stay yours.",
  yes: "Erase it",
};
const NEVER = new AbortController().signal;

/** A character, and what this page knows of it beside the service's document. */
interface Reading extends Remembered {
  character: Character;
  read: Settings;
  /** What it was read from, as long as the page is open. */
  photo: Photo | null;
}

export class App {
  private readonly client = new Client();
  private readonly embedding = embeddingOf(this.client);
  private readonly shell: Shell;
  private readonly welcome: Welcome;
  private readonly compare: Compare;
  private readonly downloads: Downloads;
  private schema: Schema | null = null;
  private head: Head | null = null;
  private fallback: FallbackImage | null = null;
  private session: Session | null = null;
  /** Settled once the character that was left is saved. */
  private leftSaved: Promise<unknown> = Promise.resolve();
  private isErasing = false;
  private waiting: AbortController | null = null;

  constructor() {
    this.client.askForKey = this.embedding?.askForToken ?? askForKey;
    const token = takeToken();
    if (token !== null) this.client.useKey(token);
    this.shell = shell({
      undo: () => this.session?.editor.undo(),
      redo: () => this.session?.editor.redo(),
      anew: () => this.startAnew(),
    });
    this.welcome = new Welcome({
      given: (file, name) => {
        if (!isAsking()) void this.read({ file, name, shares: this.welcome.shares });
      },
      stop: () => this.waiting?.abort(),
    });
    this.compare = new Compare((view) => this.view(view));
    this.downloads = new Downloads(
      (address) => this.file(address),
      (error) => this.complain(error),
    );
    this.shell.tools.append(this.downloads.root);
    if (this.embedding !== null) this.shell.tools.append(doneButton(() => void this.done()));
    this.shell.canvas.after(this.compare.overlay);
    this.shell.foot.append(this.compare.bar);
    this.shell.side.append(this.welcome.root);
    document.body.append(
      this.shell.root,
      element("div", { class: "drop-veil", "aria-hidden": "true" }, "Drop the photo"),
    );
    addEventListener("keydown", (event) => this.shortcut(event));
    addEventListener("pagehide", () => this.session?.saveBehind());
    new ResizeObserver(() => this.placePhoto()).observe(this.shell.canvas);
  }

  /** Fetch what the page needs, show the average head, and go on with a character that was being changed. */
  async begin(): Promise<void> {
    const stored = storedSession(location.hash);
    try {
      const schema = await this.schemaInTime();
      this.embedding?.begin(await this.client.frames());
      void this.client.keepsCorrections().then((does) => this.welcome.askToShare(does));
      await this.startViewer(schema);
      if (stored !== null) await this.goOn(stored);
    } catch (error) {
      this.welcome.refuse(messageFor(error), () => {
        this.welcome.invite();
        void this.begin();
      });
    } finally {
      this.shell.viewer.classList.remove("loading");
    }
  }

  private async schemaInTime(): Promise<Schema> {
    const starting = (): void => this.tell("The service is starting");
    this.schema ??= await patiently(() => this.client.schema(), starting, NEVER);
    this.tell("");
    return this.schema;
  }

  private async startViewer(schema: Schema): Promise<void> {
    if (this.head !== null || this.fallback !== null) return;
    const { figure } = schema;
    if (figure === null) {
      this.fallback = new FallbackImage(this.shell.canvas, NO_FIGURE);
      return;
    }
    const { Head } = await import("./viewer/head");
    try {
      this.head = new Head(this.shell.canvas, { ...schema, figure }, averageOf(schema), {
        lost: (isLost) => this.tell(isLost ? "The graphics were interrupted; they come back by themselves" : ""),
        failed: () => this.tell("Some of the head could not be loaded.", () => this.showHead()),
      });
    } catch {
      this.fallback = new FallbackImage(this.shell.canvas, NO_WEBGL);
      return;
    }
    await this.head.begin();
  }

  private async read(photo: Photo): Promise<void> {
    this.waiting?.abort();
    const waiting = new AbortController();
    this.waiting = waiting;
    this.leave();
    this.welcome.busy(photo.file);
    try {
      const schema = await this.schemaInTime();
      const character = await patiently(
        () => this.client.create(photo, waiting.signal),
        (seconds) => this.welcome.say(`Many people are here: trying again in ${seconds} s`),
        waiting.signal,
      );
      const [read, aligned] = [settingsOf(character), character.aligned ?? null];
      this.enter(schema, { character, read, aligned, photo, other: null, isCloser: false });
    } catch (error) {
      // Another photo may have been given meanwhile.
      if (this.waiting !== waiting) return;
      const advice = messageFor(error);
      if (waiting.signal.aborted) this.welcome.invite();
      else this.welcome.refuse(advice, advice.again ? () => void this.read(photo) : null);
    }
  }

  /** The same photo's other reading, with what was changed by hand. */
  private async readOtherwise(schema: Schema, session: Session, reading: Reading): Promise<void> {
    try {
      const other = await this.otherOf(session, reading);
      if (this.session === session && !this.isErasing) {
        this.leftSaved = session.save().catch(() => undefined);
        this.enter(schema, other, session.edits);
      } else if (reading.other === null) {
        // The person has gone on to something else, and nobody would know of it.
        await this.client.erase(other.character.id);
      }
    } catch (error) {
      if (this.session === session) this.complain(error);
    }
  }

  private async otherOf(session: Session, reading: Reading): Promise<Reading> {
    const { character, read, other, photo, isCloser } = reading;
    const self = { other: { id: character.id, read }, isCloser: !isCloser };
    if (other === null) {
      const found = await this.searched(session, photo);
      return { ...reading, ...self, character: found, read: settingsOf(found) };
    }
    // What it was last set to, not what it was when it was made.
    await this.leftSaved;
    return { ...reading, ...self, character: await this.client.character(other.id), read: other.read };
  }

  /** Where nothing can draw this character, by networks alone. */
  private async searched(session: Session, photo: Photo | null): Promise<Character> {
    if (photo === null) throw new Error("there is no photo to search from");
    const busy = (seconds: number): void => {
      if (this.session === session) this.tell(`Many people are here: trying again in ${seconds} s`);
    };
    // Never given up: the service would make the character all the same, and nobody could erase it.
    try {
      return await patiently(() => this.client.create(photo, NEVER, "engine"), busy, NEVER);
    } catch (error) {
      if (!(error instanceof Refused) || error.kind !== "cannot-refine") throw error;
      return patiently(() => this.client.create(photo, NEVER, "gradient"), busy, NEVER);
    }
  }

  /** Take up a character again, as the service has it. */
  private async goOn({ id, known }: StoredSession): Promise<void> {
    try {
      const schema = await this.schemaInTime();
      const character = await this.client.character(id);
      this.enter(schema, { ...known, character, read: known.read ?? settingsOf(character), photo: null });
    } catch (error) {
      history.replaceState(null, "", location.pathname);
      this.welcome.back = null;
      this.welcome.refuse(messageFor(error), null);
    }
  }

  /** Put a character into the person's hands. `edits`: what is changed in what was read; by default what is saved. */
  private enter(schema: Schema, reading: Reading, edits: Difference | null = null): void {
    const { character, photo, ...known } = reading;
    const { aligned, other, isCloser } = known;
    const changed = (): void => this.showSession();
    const saved = (state: SaveState, error?: unknown): void => this.tellSaved(session, state, error);
    const session: Session = new Session(character, known, schema, this.client, { changed, saved }, edits);
    this.session = session;
    if (edits !== null) session.saveSoon();
    this.embedding?.changed(character.id, session.editor.now);
    history.replaceState(null, "", `#${character.id}`);
    const open = session.doubts.map(({ group }) => group.label);
    const hasOther = photo !== null || other !== null;
    const about = summary(character, aligned, open, hasOther ? (isCloser ? "closer" : "first") : null, {
      compare: () => this.compare.choose("beside"),
      erase: () => void this.erase(),
      other: () => this.readOtherwise(schema, session, reading),
    });
    this.shell.side.replaceChildren(about, session.panel.root);
    document.body.classList.add("editing");
    this.shell.tools.hidden = false;
    this.downloads.show(character);
    this.compare.face = this.head === null ? null : aligned;
    this.head?.become(session.editor.now);
    void this.refreshFallback();
    this.showHistory();
    this.tell("");
    // Whoever cannot see the page hears that it has changed, and the Tab key goes on from here.
    about.querySelector("h1")?.focus({ preventScroll: true });
  }

  /** Back to the welcome; what was changed is saved, and can be come back to. */
  private leave(): void {
    const { session } = this;
    if (session === null) return;
    session.saveBehind();
    this.session = null;
    this.welcome.back = () => void this.goOn(session.stored);
    history.replaceState(null, "", location.pathname);
    document.body.classList.remove("editing");
    this.shell.tools.hidden = true;
    this.downloads.show(null);
    this.compare.face = null;
    this.shell.side.replaceChildren(this.welcome.root);
    this.tell("");
  }

  private startAnew(): void {
    this.leave();
    // Another person may sit here now.
    this.welcome.shares = false;
    this.welcome.invite();
    this.showHead();
    this.welcome.root.querySelector("button")?.focus();
  }

  /** The character that is seen, and the photo's other reading. */
  private async erase(): Promise<void> {
    if (!(await confirm(ERASE)) || this.session === null) return;
    const { session } = this;
    this.isErasing = true;
    try {
      for (const id of session.stored.ids) await this.client.erase(id);
    } catch (error) {
      this.complain(error);
      return;
    } finally {
      this.isErasing = false;
    }
    session.forget();
    this.embedding?.erased(session.stored.ids);
    this.leave();
    this.welcome.back = null;
    this.startAnew();
    this.tell("Erased");
  }

  /** A file of the character as it is seen. */
  private async file(address: string): Promise<Blob> {
    await this.session?.save();
    const waiting = (seconds: number): void => this.tell(`The service is busy: trying again in ${seconds} s`);
    const file = await patiently(() => this.client.file(address), waiting, NEVER);
    this.tell("");
    return file;
  }

  /** The player is content: the page around gets the character as the service has it. */
  private async done(): Promise<void> {
    const { session } = this;
    try {
      await session?.save();
      if (session !== null) this.embedding?.done(await this.client.character(session.character.id));
    } catch (error) {
      this.complain(error);
    }
  }

  private showSession(): void {
    this.showHead();
    this.showHistory();
  }

  private showHead(): void {
    if (this.session !== null) this.head?.show(this.session.editor.now);
    else if (this.schema !== null) this.head?.become(averageOf(this.schema), true);
  }

  private showHistory(): void {
    this.shell.undo.disabled = !this.session?.editor.canUndo;
    this.shell.redo.disabled = !this.session?.editor.canRedo;
  }

  private view(view: View): void {
    this.shell.viewer.dataset["view"] = view;
    this.head?.compare(view);
    this.placePhoto();
  }

  private placePhoto(): void {
    if (this.head !== null) this.compare.square = this.head.square;
  }

  private async refreshFallback(): Promise<void> {
    const address = this.session?.character.links.png;
    if (this.fallback === null || !address) return;
    try {
      this.fallback.show(await this.client.file(address));
    } catch (error) {
      this.complain(error);
    }
  }

  private tellSaved(session: Session, state: SaveState, error: unknown): void {
    // Of a character that was left, only that it could not be saved.
    if (this.session !== session && state !== "failed") return;
    const texts: Record<Exclude<SaveState, "failed">, string> = { saved: "Saved", waiting: "", saving: "Saving" };
    if (state === "failed") this.tell(`Not saved. ${messageFor(error).title}.`, () => session.saveBehind());
    else this.tell(texts[state]);
    if (state === "saved") void this.refreshFallback();
    if (state === "saved") this.embedding?.changed(session.character.id, session.editor.now);
  }

  private complain(error: unknown): void {
    const { title, advice } = messageFor(error);
    this.tell(`${title}. ${advice}`);
  }

  /** A line beside the name; `again`: what to do about it. */
  private tell(words: string, again: (() => void) | null = null): void {
    const retry = again && element("button", { type: "button", class: "link", onclick: again }, "Try again");
    this.shell.status.replaceChildren(words, ...(retry === null ? [] : [" ", retry]));
    this.shell.status.classList.toggle("quietly", ["Saved", "Saving", "Erased"].includes(words));
  }

  private shortcut(event: KeyboardEvent): void {
    const isTyping = event.target instanceof HTMLInputElement && event.target.type === "search";
    if (!(event.ctrlKey || event.metaKey) || event.altKey || isTyping || this.session === null || isAsking()) return;
    const { editor } = this.session;
    const key = event.key.toLowerCase();
    if (key === "z" && !event.shiftKey) editor.undo();
    else if (key === "z" || key === "y") editor.redo();
    else return;
    event.preventDefault();
  }
}
