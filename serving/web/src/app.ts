/** The page as a whole: from the first photo to the download. */

import { Client, isLost, mayPass, patiently, Refused, type Character, type Photo, type PhotoFile } from "./api/client";
import type { Schema } from "./api/schema";
import { messageFor } from "./api/messages";
import type { SaveState } from "./edit/saver";
import { Shelf } from "./edit/shelf";
import type { Difference, Settings } from "./edit/settings";
import { storedSession, type Remembered, type StoredSession } from "./edit/sessionStore";
import { within } from "./photo";
import { averageOf, readOf, Session, settingsOf } from "./session";
import { doneButton, embeddingOf, takeToken } from "./embedding";
import type { Head } from "./viewer/head";
import { FallbackImage } from "./viewer/fallbackImage";
import { CodeEntry } from "./ui/codeEntry";
import { Compare, type View } from "./ui/compare";
import { confirm, isAsking } from "./ui/confirm";
import { element } from "./ui/dom";
import { facesOf } from "./ui/faces";
import { Downloads } from "./ui/downloads";
import { askForKey } from "./ui/key";
import { shell, type Shell } from "./ui/shell";
import { Scene } from "./ui/scene";
import { share } from "./ui/share";
import { ShelfList } from "./ui/shelfList";
import { languageSwitch } from "./ui/languageSwitch";
import { keeping, summary } from "./ui/summary";
import { chooseTogether } from "./ui/together";
import { Welcome } from "./ui/welcome";
import { dateOf, t, translated } from "./language";
import { browserStorage } from "./storage";

const NO_WEBGL = t(
  "This browser cannot draw in 3D (WebGL is off or missing), so you see the service's own picture a moment after each change.",
);
const NO_FIGURE = t(
  "This character is drawn by its own game: what you change here you see there, or in its picture where it gives one.",
);
const ERASE = {
  title: t("Erase this character?"),
  words: t(
    "It is gone from the service at once, with all that you changed in it and all that you shared of it. Files that you downloaded stay yours.",
  ),
  yes: t("Erase it"),
};
const NEVER = new AbortController().signal;
const SHELF_PIXELS = 160;
/** Milliseconds after which a head has turned into another one. */
const SETTLED = 2_500;

/** A character, and what this page knows of it beside the service's document. */
interface Reading extends Remembered {
  character: Character;
  read: Settings;
  /** What it was read from, as long as the page is open. */
  photo: Photo | null;
}

/** What is said while a photo waits to be sent again. */
function untilAgain(seconds: number, error: unknown): string {
  return isLost(error)
    ? t("No answer: trying again in {seconds} s", { seconds })
    : t("Many people are here: trying again in {seconds} s", { seconds });
}

export class App {
  private readonly client = new Client();
  private readonly embedding = embeddingOf(this.client);
  private readonly shell: Shell;
  private readonly welcome: Welcome;
  private readonly compare: Compare;
  private readonly downloads: Downloads;
  private readonly shelf = new Shelf(browserStorage);
  private readonly shelfList = new ShelfList(this.shelf);
  private picturing: ReturnType<typeof setTimeout> | undefined;
  private schema: Schema | null = null;
  private head: Head | null = null;
  private fallback: FallbackImage | null = null;
  private scene: Scene | null = null;
  private session: Session | null = null;
  /** Settled once the character that was left is saved. */
  private leftSaved: Promise<unknown> = Promise.resolve();
  /** What could not be saved: tried again once the line is back. */
  private readonly unsaved = new Set<Session>();
  /** Bytes of the largest photo that the service takes, and of all photos of one person together; how many these may be. */
  private mostBytes = Infinity;
  private mostBytesTogether = Infinity;
  private mostTogether = 8;
  private isErasing = false;
  private waiting: AbortController | null = null;

  constructor() {
    this.client.askForKey = this.embedding?.askForToken ?? askForKey;
    const token = takeToken();
    if (token !== null) this.client.useKey(token);
    this.shell = shell({
      undo: () => this.session?.editor.undo(),
      redo: () => this.session?.editor.redo(),
      share: () => void this.share(),
      anew: () => this.startAnew(),
    });
    this.welcome = new Welcome({
      given: (files) => void this.given(files),
      stop: () => this.waiting?.abort(),
    });
    this.compare = new Compare((view) => this.view(view));
    this.downloads = new Downloads((address) => this.file(address));
    this.shell.tools.append(this.downloads.root);
    if (this.embedding !== null) this.shell.tools.append(doneButton(() => void this.done()));
    this.shell.canvas.after(this.compare.overlay);
    this.shell.foot.append(this.compare.bar);
    const codeEntry = new CodeEntry(async (code) => {
      location.hash = (await this.client.byCode(code)).id;
    });
    this.welcome.root.append(this.shelfList.root, codeEntry.root, languageSwitch());
    this.shell.side.append(this.welcome.root);
    document.body.append(
      this.shell.root,
      element("div", { class: "drop-veil", "aria-hidden": "true" }, t("Drop the photo")),
    );
    addEventListener("keydown", (event) => this.shortcut(event));
    addEventListener("hashchange", () => this.follow());
    addEventListener("pagehide", () => this.session?.saveBehind());
    addEventListener("online", () => {
      for (const session of this.unsaved) session.saveBehind();
    });
    new ResizeObserver(() => this.placePhoto()).observe(this.shell.canvas);
  }

  /** Fetch what the page needs, show the average head, and go on with a character that was being changed. */
  async begin(): Promise<void> {
    const stored = storedSession(location.hash);
    try {
      const schema = await this.schemaInTime();
      const told = this.client.options().then((options) => {
        this.mostBytes = Math.round(1e6 * (options.photo_megabytes ?? Infinity));
        this.mostBytesTogether = Math.round(1e6 * (options.person_megabytes ?? Infinity));
        this.mostTogether = options.person_photos ?? this.mostTogether;
        this.welcome.askToShare(options.keeps_corrections ?? false);
        this.embedding?.begin(options.frames ?? []);
      });
      if (this.embedding !== null) await told;
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
    const starting = (): void => this.tell(t("The service is starting"));
    this.schema ??= translated(await patiently(() => this.client.schema(), starting, NEVER));
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
        lost: (isLost) => this.tell(isLost ? t("The graphics were interrupted; they come back by themselves") : ""),
        failed: () => this.tell(t("Some of the head could not be loaded."), () => this.showHead()),
      });
    } catch {
      this.fallback = new FallbackImage(this.shell.canvas, NO_WEBGL);
      return;
    }
    this.scene = this.sceneOf(this.head);
    await this.head.begin();
  }

  private sceneOf(head: Head): Scene {
    const complain = (error: unknown): void => this.complain(error);
    return new Scene(head.face, {
      expression: (name) => void head.express(name).catch(complain),
      act: (weights) => void head.act(weights).catch(complain),
      rest: (friendly) => void head.rest(friendly).catch(complain),
      shirt: (colour) => head.dress(colour),
      light: (light) => head.light(light),
      background: (background) => (this.shell.viewer.dataset["background"] = background),
    });
  }

  /** One photo is read at once; of several it is asked first whether they are of one person. */
  private async given(files: readonly PhotoFile[]): Promise<void> {
    if (isAsking()) return;
    const chosen = files.length > 1 ? await chooseTogether(files, this.mostTogether) : files;
    if (chosen.length > 0) await this.read({ files: chosen, shares: this.welcome.shares });
  }

  private async read(photo: Photo): Promise<void> {
    this.waiting?.abort();
    const waiting = new AbortController();
    this.waiting = waiting;
    this.leave();
    this.welcome.busy(photo.files);
    try {
      const schema = await this.schemaInTime();
      const taken = await this.taken(photo, waiting.signal);
      const { character } = taken;
      const [read, aligned] = [settingsOf(character), character.aligned ?? null];
      this.enter(schema, { ...taken, read, aligned, other: null, isCloser: false });
    } catch (error) {
      // Another photo may have been given meanwhile.
      if (this.waiting !== waiting) return;
      const advice = messageFor(error);
      if (waiting.signal.aborted) this.welcome.invite();
      else this.welcome.refuse(advice, advice.again ? () => void this.read(photo) : null);
    }
  }

  /** The character of a photo, or of several, made smaller where the service takes no larger; of the face that is meant. */
  private async taken(photo: Photo, signal: AbortSignal): Promise<{ character: Character; photo: Photo }> {
    const most = Math.min(this.mostBytes, this.mostBytesTogether / photo.files.length);
    photo = { ...photo, files: await within(photo.files, most) };
    const character = await this.created(photo, signal).catch(async (error: unknown) => {
      // As many pixels, or a service that does not say how large a photo may be.
      if (!(error instanceof Refused) || error.kind !== "too-large") throw error;
      const files = await within(photo.files, most, true);
      if (files.every(({ file }, at) => file === photo.files[at]?.file)) throw error;
      photo = { ...photo, files };
      return this.created(photo, signal);
    });
    const files = await facesOf(photo.files, character);
    if (files.every((file, at) => file === photo.files[at])) return { character, photo };
    void this.client.erase(character.id).catch(() => undefined);
    photo = { ...photo, files };
    return { character: await this.created(photo, signal), photo };
  }

  private async created(photo: Photo, signal: AbortSignal): Promise<Character> {
    try {
      const waiting = (seconds: number, error: unknown): void => this.welcome.say(untilAgain(seconds, error));
      return await this.client.create(photo, waiting, signal, undefined, (share) => this.welcome.sent(share));
    } catch (error) {
      // What an older model cannot do is told by one kind, whatever was asked of it.
      if (!(error instanceof Refused) || error.kind !== "cannot-refine") throw error;
      throw new Refused(error.status, { ...error.problem, type: "/problems/one-photo" }, error.retryAfter);
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
    const waiting = (seconds: number, error: unknown): void => {
      if (this.session === session) this.tell(untilAgain(seconds, error));
    };
    // Never given up: the service would make the character all the same, and nobody could erase it.
    try {
      return await this.client.create(photo, waiting, NEVER, "engine");
    } catch (error) {
      if (!(error instanceof Refused) || error.kind !== "cannot-refine") throw error;
      return this.client.create(photo, waiting, NEVER, "gradient");
    }
  }

  /** Take up a character again, as the service has it. */
  private async goOn({ id, known }: StoredSession): Promise<void> {
    try {
      const schema = await this.schemaInTime();
      const character = await this.client.character(id);
      this.enter(schema, { ...known, character, read: known.read ?? readOf(character), photo: null });
    } catch (error) {
      history.replaceState(null, "", location.pathname);
      if (error instanceof Refused && error.status === 404) this.shelf.remove([id]);
      this.shelfList.update();
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
    const extras = this.scene === null ? [] : [{ name: "scene", label: t("Scene"), root: this.scene.root }];
    const session: Session = new Session(character, known, schema, this.client, { changed, saved }, edits, extras);
    this.session?.end();
    this.session = session;
    if (edits !== null) session.saveSoon();
    this.embedding?.changed(character.id, session.editor.now);
    history.replaceState(null, "", `#${character.id}`);
    if (other !== null) this.shelf.remove([other.id]);
    this.shelf.put(character.id, character.expires);
    this.pictureSoon(session);
    const open = session.doubts.map(({ group }) => group.label);
    const hasOther = photo !== null || other !== null;
    const about = summary(character, aligned, open, hasOther ? (isCloser ? "closer" : "first") : null, {
      compare: () => this.compare.choose("beside"),
      other: () => this.readOtherwise(schema, session, reading),
    });
    this.shell.side.replaceChildren(
      about,
      session.panel.root,
      keeping(character, () => void this.erase()),
    );
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
    session.end();
    this.session = null;
    this.welcome.back = () => void this.goOn(session.stored);
    history.replaceState(null, "", location.pathname);
    document.body.classList.remove("editing");
    this.shell.tools.hidden = true;
    this.scene?.reset();
    this.downloads.show(null);
    this.compare.face = null;
    this.shelfList.update();
    this.shell.side.replaceChildren(this.welcome.root);
    this.tell("");
  }

  /** The address names another character now, or none. */
  private follow(): void {
    const stored = storedSession(location.hash);
    if (stored?.id === this.session?.character.id || isAsking()) return;
    this.waiting?.abort();
    this.leave();
    if (stored !== null) void this.goOn(stored);
  }

  private async share(): Promise<void> {
    const { session } = this;
    if (session === null) return;
    const { character } = session;
    const { png } = character.links;
    await share({
      link: location.href,
      until: dateOf(character.expires),
      code: async () => {
        const { code, expires } = await this.client.code(character.id);
        return { code, until: dateOf(expires) };
      },
      photo: session.stored.known.aligned,
      head: png ? () => this.portrait(png) : null,
    });
  }

  /** The head before nothing, where what draws it can leave the background out. */
  private async portrait(png: string): Promise<Blob> {
    try {
      return await this.file(`${png}?size=768&background=transparent`);
    } catch (error) {
      if (!(error instanceof Refused) || mayPass(error)) throw error;
      return this.file(`${png}?size=768`);
    }
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
    this.shelf.remove(session.stored.ids);
    this.unsaved.delete(session);
    this.embedding?.erased(session.stored.ids);
    this.leave();
    this.welcome.back = null;
    this.startAnew();
    this.shell.status.tell(t("Erased"), null, true);
  }

  /** A file of the character as it is seen. */
  private async file(address: string): Promise<Blob> {
    await this.session?.save();
    const waiting = (seconds: number): void =>
      this.tell(t("The service is busy: trying again in {seconds} s", { seconds }));
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
    const { status } = this.shell;
    const texts: Record<Exclude<SaveState, "failed">, string> = { saved: t("Saved"), waiting: "", saving: t("Saving") };
    if (state === "failed") {
      this.unsaved.add(session);
      status.tellSaving(t("Not saved. {title}.", { title: messageFor(error).title }), () => session.saveBehind());
      return;
    }
    const wasUnsaved = state !== "saving" && this.unsaved.delete(session);
    // Of a character that was left, only whether it could not be saved.
    if (this.session !== session && !wasUnsaved) return;
    status.tellSaving(texts[state], null, state === "saved");
    if (state !== "saved") return;
    void this.refreshFallback();
    this.pictureSoon(session);
    this.embedding?.changed(session.character.id, session.editor.now);
  }

  /** What the shelf shows of it, once it has become what it is. */
  private pictureSoon(session: Session): void {
    clearTimeout(this.picturing);
    this.picturing = setTimeout(() => {
      const picture = this.session === session ? this.head?.picture(SHELF_PIXELS) : null;
      if (picture) this.shelf.picture(session.character.id, picture);
    }, SETTLED);
  }

  private complain(error: unknown): void {
    const { title, advice } = messageFor(error);
    this.tell(`${title}. ${advice}`);
  }

  private tell(words: string, again: (() => void) | null = null): void {
    this.shell.status.tell(words, again);
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
