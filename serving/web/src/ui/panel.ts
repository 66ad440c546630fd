/** Everything that can be set, by part of the face; found by name, or only what was changed. */

import type { Part, Schema } from "../api/schema";
import type { Editor } from "../edit/editor";
import { ChoiceGrid } from "./choices";
import { element, freshId, icon } from "./dom";
import { SliderRow } from "./slider";
import { Tabs } from "./tabs";

interface Control {
  name: string;
  /** What a search looks in. */
  words: string;
  root: HTMLElement;
  show: (isChanged: boolean) => void;
}

interface Section {
  part: Part;
  controls: Control[];
  root: HTMLElement;
  reset: HTMLButtonElement;
}

export class Panel {
  readonly root: HTMLElement;
  private readonly sections: Section[];
  private readonly tabs: Tabs;
  private readonly search: HTMLInputElement;
  private readonly onlyChanged: HTMLButtonElement;
  private readonly resetAll: HTMLButtonElement;
  private readonly nothing = element("p", { class: "nothing", role: "status" });
  private readonly shown = new Map<string, string>();

  /**
   * @param sure how sure the encoder was of a choice, null where it is not known.
   */
  constructor(
    private readonly schema: Schema,
    private readonly editor: Editor,
    sure: (group: string, choice: string) => number | null,
  ) {
    this.sections = schema.parts.map((part) => this.section(part, sure));
    this.search = element("input", {
      type: "search",
      placeholder: "Find a slider",
      "aria-label": "Find a slider or choice",
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => this.arrange(),
    });
    this.onlyChanged = element(
      "button",
      { type: "button", class: "chip", "aria-pressed": "false", onclick: () => this.toggleChanged() },
      "Changed",
    );
    this.resetAll = element("button", { type: "button", class: "quiet", onclick: () => editor.reset() }, "Reset all");
    const titles = this.sections.map(({ part, root }) => ({ name: part.name, label: part.label, panel: root }));
    this.tabs = new Tabs(titles, "Parts of the face", (panel) => this.openPart(panel));
    this.root = element(
      "div",
      { class: "editor" },
      element(
        "div",
        { class: "find" },
        element("span", { class: "search" }, icon("search"), this.search),
        this.onlyChanged,
        this.resetAll,
      ),
      this.tabs.root,
      element("div", { class: "sections" }, ...this.sections.map(({ root }) => root), this.nothing),
    );
    this.arrange();
    this.update();
  }

  /** Show what the editor has; only what is new is touched. */
  update(): void {
    const { now, changed } = this.editor;
    for (const { part, controls, reset } of this.sections) {
      for (const { name, show } of controls) {
        const state = `${now.parameters[name] ?? now.discrete[name]} ${changed.has(name)}`;
        if (this.shown.get(name) === state) continue;
        this.shown.set(name, state);
        show(changed.has(name));
      }
      const isChanged = controls.some(({ name }) => changed.has(name));
      reset.hidden = !isChanged;
      this.tabs.mark(part.name, isChanged);
    }
    this.onlyChanged.textContent = changed.size === 0 ? "Changed" : `Changed ${changed.size}`;
    this.resetAll.disabled = changed.size === 0;
  }

  private section(part: Part, sure: (group: string, choice: string) => number | null): Section {
    const controls = [...this.choicesOf(part, sure), ...this.slidersOf(part)];
    const names = controls.map(({ name }) => name);
    const reset = element(
      "button",
      { type: "button", class: "quiet", onclick: () => this.editor.reset(names) },
      `Reset ${part.label.toLowerCase()}`,
    );
    const root = element(
      "section",
      { class: "section", id: freshId("section") },
      element("div", { class: "section-head" }, element("h2", {}, part.label), reset),
      ...controls.map((control) => control.root),
    );
    return { part, controls, root, reset };
  }

  private slidersOf(part: Part): Control[] {
    const { editor } = this;
    const events = {
      slide: (name: string, value: number) => editor.slide(name, value),
      settle: () => editor.settle(),
      reset: (name: string) => editor.reset([name]),
    };
    return this.schema.sliders
      .filter((slider) => slider.part === part.name)
      .map((slider) => {
        const { name, label, neutral } = slider;
        const row = new SliderRow(slider, editor.read.parameters[name] ?? neutral, events);
        const show = (isChanged: boolean) => row.show(editor.now.parameters[name] ?? neutral, isChanged);
        return { name, words: `${label} ${part.label}`.toLowerCase(), root: row.root, show };
      });
  }

  private choicesOf(part: Part, sure: (group: string, choice: string) => number | null): Control[] {
    const { editor } = this;
    const events = {
      choose: (group: string, choice: string) => editor.choose(group, choice),
      reset: (name: string) => editor.reset([name]),
    };
    return this.schema.groups
      .filter((group) => group.part === part.name)
      .map((group) => {
        const { name, label, neutral, choices } = group;
        const read = editor.read.discrete[name] ?? neutral;
        const grid = new ChoiceGrid(group, read, sure(name, read), events);
        const show = (isChanged: boolean) => grid.show(editor.now.discrete[name] ?? neutral, isChanged);
        const words = [label, part.label, ...choices.map((choice) => choice.label)].join(" ").toLowerCase();
        return { name, words, root: grid.root, show };
      });
  }

  private toggleChanged(): void {
    const pressed = this.onlyChanged.getAttribute("aria-pressed") !== "true";
    this.onlyChanged.setAttribute("aria-pressed", String(pressed));
    this.arrange();
  }

  private openPart(section: HTMLElement): void {
    this.search.value = "";
    this.onlyChanged.setAttribute("aria-pressed", "false");
    this.arrange();
    // A part is read from its top, wherever the one before was left.
    section.parentElement?.scrollTo(0, 0);
    const { bottom } = this.tabs.root.getBoundingClientRect();
    if (getComputedStyle(this.tabs.root).position === "sticky" && section.getBoundingClientRect().top < bottom) {
      section.scrollIntoView({ block: "start" });
    }
  }

  /** One part behind its tab, or whatever was searched for out of all parts. */
  private arrange(): void {
    const sought = this.search.value.trim().toLowerCase();
    const onlyChanged = this.onlyChanged.getAttribute("aria-pressed") === "true";
    const filtering = sought !== "" || onlyChanged;
    const { changed } = this.editor;
    let found = 0;
    for (const { controls, root } of this.sections) {
      let here = 0;
      for (const control of controls) {
        const fits = !filtering || (control.words.includes(sought) && (!onlyChanged || changed.has(control.name)));
        control.root.hidden = !fits;
        if (fits) here += 1;
      }
      if (filtering) root.hidden = here === 0;
      found += here;
    }
    this.root.classList.toggle("filtering", filtering);
    this.tabs.shownAlone = !filtering;
    if (filtering) this.nothing.parentElement?.scrollTo(0, 0);
    this.nothing.hidden = !filtering || found > 0;
    this.nothing.textContent =
      onlyChanged && changed.size === 0
        ? "Nothing was changed yet: this is what your photo gave."
        : "Nothing here has that name.";
  }
}
