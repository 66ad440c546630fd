/** The page as a whole: from the first photo to the download. */

import { Client, patiently, type Character } from "./api/client";
import type { Schema } from "./api/schema";
import { adviceFor } from "./api/words";
import { Editor } from "./edit/editor";
import { Saver, type SaveState } from "./edit/saver";
import type { Settings } from "./edit/settings";
import { Visit, visitIn } from "./edit/visit";
import type { Head } from "./stage/head";
import { Still } from "./stage/still";
import { Compare, type View } from "./ui/compare";
import { element } from "./ui/dom";
import { Downloads } from "./ui/downloads";
import { askForKey } from "./ui/key";
import { Panel } from "./ui/panel";
import { shell, type Shell } from "./ui/shell";
import { summary } from "./ui/summary";
import { Welcome } from "./ui/welcome";

const NO_WEBGL =
  "This browser cannot draw in 3D (WebGL is off or missing), so you see the service's own picture a moment after each change.";
const NO_FIGURE = "This character is drawn by its own game. Sliders and choices work here; you see the result there.";

/** A character that is being changed. */
interface Session {
  character: Character;
  editor: Editor;
  saver: Saver;
  panel: Panel;
}

export class App {
  private readonly client = new Client();
  private readonly shell: Shell;
  private readonly welcome: Welcome;
  private readonly compare: Compare;
  private readonly downloads: Downloads;
  private schema: Schema | null = null;
  private head: Head | null = null;
  private still: Still | null = null;
  private session: Session | null = null;
  private reading: AbortController | null = null;

  constructor() {
    this.client.askForKey = askForKey;
    this.shell = shell({
      undo: () => this.session?.editor.undo(),
      redo: () => this.session?.editor.redo(),
      anew: () => this.startAnew(),
    });
    this.welcome = new Welcome(
      (photo, name) => void this.read(photo, name),
      () => this.reading?.abort(),
    );
    this.compare = new Compare((view) => this.view(view));
    this.downloads = new Downloads(
      (address) => this.file(address),
      (error) => this.complain(error),
    );
    this.shell.tools.append(this.downloads.root);
    this.shell.canvas.after(this.compare.overlay);
    this.shell.foot.append(this.compare.bar);
    this.shell.side.append(this.welcome.root);
    document.body.append(
      this.shell.root,
      element("div", { class: "drop-veil", "aria-hidden": "true" }, "Drop the photo"),
    );
    addEventListener("keydown", (event) => this.shortcut(event));
    addEventListener("pagehide", () => void this.session?.saver.flush().catch(() => undefined));
    new ResizeObserver(() => this.placePhoto()).observe(this.shell.canvas);
  }

  /** Fetch what the page needs, show the average head, and go on with a character that was being changed. */
  async begin(): Promise<void> {
    const visit = visitIn(location.hash);
    try {
      this.schema = await patiently(
        () => this.client.schema(),
        () => this.tell("The service is starting"),
        new AbortController().signal,
      );
      this.tell("");
      await this.setTheStage(this.schema);
      if (visit !== null) await this.goOn(visit);
    } catch (error) {
      this.welcome.refuse(adviceFor(error), () => {
        this.welcome.invite();
        void this.begin();
      });
    } finally {
      this.shell.stage.classList.remove("loading");
    }
  }

  private async setTheStage(schema: Schema): Promise<void> {
    if (this.head !== null || this.still !== null) return;
    const { figure } = schema;
    if (figure === null) {
      this.still = new Still(this.shell.canvas, NO_FIGURE);
      return;
    }
    const { Head } = await import("./stage/head");
    try {
      this.head = new Head(this.shell.canvas, { ...schema, figure }, averageOf(schema), {
        lost: (isLost) => this.tell(isLost ? "The graphics were interrupted; they come back by themselves" : ""),
        failed: () => this.tell("Some of the head could not be loaded", () => this.showHead()),
      });
    } catch {
      this.still = new Still(this.shell.canvas, NO_WEBGL);
      return;
    }
    await this.head.begin();
  }

  private async read(photo: Blob, name: string): Promise<void> {
    this.reading?.abort();
    const reading = new AbortController();
    this.reading = reading;
    this.leaveSession();
    this.welcome.busy(photo);
    try {
      this.schema ??= await this.client.schema();
      const character = await patiently(
        () => this.client.create(photo, name, reading.signal),
        (seconds) => this.welcome.say(`Many people are here: trying again in ${seconds} s`),
        reading.signal,
      );
      this.enter(character, settingsOf(character), character.aligned ?? null);
    } catch (error) {
      if (reading.signal.aborted) {
        if (this.reading === reading) this.welcome.invite();
        return;
      }
      const advice = adviceFor(error);
      this.welcome.refuse(advice, advice.again ? () => void this.read(photo, name) : null);
    }
  }

  private async goOn(visit: Visit): Promise<void> {
    const { id, read, aligned } = visit;
    try {
      const character = await this.client.character(id);
      this.enter(character, read ?? settingsOf(character), aligned);
    } catch (error) {
      location.hash = "";
      this.welcome.refuse(adviceFor(error), null);
    }
  }

  /** Put the character into the person's hands. `read`: what the photo gave. */
  private enter(character: Character, read: Settings, aligned: string | null): void {
    if (this.schema === null) return;
    const editor = new Editor(read, settingsOf(character));
    const saver = new Saver(
      editor.now,
      (edit) => this.client.edit(character.id, edit),
      (state, error) => this.tellSaved(state, error),
    );
    const sure = (group: string, choice: string) => character.discrete[group]?.probabilities?.[choice] ?? null;
    const panel = new Panel(this.schema, editor, sure);
    this.session = { character, editor, saver, panel };
    editor.onChange(() => this.edited());
    new Visit(character.id, read, aligned).remember();
    history.replaceState(null, "", `#${character.id}`);
    const about = summary(
      character,
      aligned,
      () => this.compare.choose("beside"),
      () => void this.erase(),
    );
    this.shell.side.replaceChildren(about, panel.root);
    // Whoever cannot see the page hears that it has changed, and the Tab key goes on from here.
    about.querySelector("h1")?.focus({ preventScroll: true });
    document.body.classList.add("editing");
    this.shell.tools.hidden = false;
    this.downloads.show(character);
    this.compare.face = this.head === null ? null : aligned;
    this.head?.become(editor.now);
    void this.refreshStill();
    this.showHistory();
    this.tell("");
  }

  private edited(): void {
    if (this.session === null) return;
    const { editor, panel, saver } = this.session;
    panel.update();
    this.showHead();
    saver.want(editor.now);
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

  private startAnew(): void {
    this.leaveSession();
    this.welcome.invite();
    if (this.schema !== null) this.head?.become(averageOf(this.schema), true);
    this.welcome.root.querySelector("button")?.focus();
  }

  /** Back to the welcome; what was changed is saved. */
  private leaveSession(): void {
    if (this.session === null) return;
    void this.session.saver.flush().catch(() => undefined);
    this.session = null;
    history.replaceState(null, "", location.pathname);
    document.body.classList.remove("editing");
    this.shell.tools.hidden = true;
    this.downloads.show(null);
    this.compare.face = null;
    this.shell.side.replaceChildren(this.welcome.root);
    this.tell("");
  }

  private async erase(): Promise<void> {
    const { character } = this.session ?? {};
    if (character === undefined) return;
    try {
      await this.client.erase(character.id);
      Visit.forget(character.id);
      // Nothing is left to save to.
      this.session = this.session && {
        ...this.session,
        saver: new Saver(
          this.session.editor.now,
          () => Promise.resolve(),
          () => undefined,
        ),
      };
      this.startAnew();
      this.tell("Erased");
    } catch (error) {
      this.complain(error);
    }
  }

  private async file(address: string): Promise<Blob> {
    await this.session?.saver.flush();
    return patiently(
      () => this.client.file(address),
      (seconds) => this.tell(`The service is busy: trying again in ${seconds} s`),
      new AbortController().signal,
    );
  }

  private view(view: View): void {
    this.shell.stage.dataset["view"] = view;
    this.head?.compare(view);
    this.placePhoto();
  }

  private placePhoto(): void {
    if (this.head !== null) this.compare.square = this.head.square;
  }

  private async refreshStill(): Promise<void> {
    const address = this.session?.character.links.png;
    if (this.still === null || !address) return;
    try {
      this.still.show(await this.client.file(address));
    } catch (error) {
      this.complain(error);
    }
  }

  private tellSaved(state: SaveState, error: unknown): void {
    const words: Record<SaveState, string> = { saved: "Saved", waiting: "", saving: "Saving", failed: "Not saved" };
    if (state === "failed") {
      this.tell(`Not saved. ${adviceFor(error).title}`, () => void this.session?.saver.flush().catch(() => undefined));
    } else {
      this.tell(words[state]);
    }
    if (state === "saved") void this.refreshStill();
  }

  private complain(error: unknown): void {
    const { title, advice } = adviceFor(error);
    this.tell(`${title}. ${advice}`);
  }

  /** A line beside the name; `again`: what to do about it. */
  private tell(words: string, again: (() => void) | null = null): void {
    const retry =
      again === null ? null : element("button", { type: "button", class: "link", onclick: again }, "Try again");
    this.shell.status.replaceChildren(words, ...(retry === null ? [] : [" ", retry]));
    this.shell.status.classList.toggle("quietly", words === "Saved" || words === "Saving" || words === "Erased");
  }

  private shortcut(event: KeyboardEvent): void {
    const isTyping = event.target instanceof HTMLInputElement && event.target.type === "search";
    if (!(event.ctrlKey || event.metaKey) || event.altKey || isTyping || this.session === null) return;
    const { editor } = this.session;
    const key = event.key.toLowerCase();
    if (key === "z" && event.shiftKey) editor.redo();
    else if (key === "z") editor.undo();
    else if (key === "y") editor.redo();
    else return;
    event.preventDefault();
  }
}

function settingsOf({ parameters, discrete }: Character): Settings {
  const choices = Object.entries(discrete).map(([group, { choice }]) => [group, choice] as const);
  return { parameters, discrete: Object.fromEntries(choices) };
}

function averageOf({ sliders, groups }: Schema): Settings {
  return {
    parameters: Object.fromEntries(sliders.map(({ name, neutral }) => [name, neutral])),
    discrete: Object.fromEntries(groups.map(({ name, neutral }) => [name, neutral])),
  };
}
