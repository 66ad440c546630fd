/** Everything that can be set, by part of the face; found by name, or only what was changed. */

import type { Choice, Group, Part, Schema } from "../api/schema";
import type { Doubt } from "../edit/doubts";
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
  name: string;
  label: string;
  controls: Control[];
  root: HTMLElement;
  reset: HTMLButtonElement;
  /** Whether its controls are in other sections as well: a search looks there. */
  isRepeated: boolean;
}

type Sure = (group: string, choice: string) => number | null;

export class Panel {
  readonly root: HTMLElement;
  private readonly sections: Section[];
  private readonly tabs: Tabs;
  private readonly search: HTMLInputElement;
  private readonly onlyChanged: HTMLButtonElement;
  private readonly resetAll: HTMLButtonElement;
  private readonly nothing = element("p", { class: "nothing", role: "status" });
  private readonly shown = new Map<Control, string>();

  /**
   * @param sure how sure the encoder was of a choice, null where it is not known.
   * @param doubts groups that the photo left open, with their likely choices: they come first.
   */
  constructor(
    private readonly schema: Schema,
    private readonly editor: Editor,
    sure: Sure,
    doubts: readonly Doubt[],
  ) {
    const parts = schema.parts.map((part) => this.part(part, sure));
    this.sections = doubts.length === 0 ? parts : [this.doubtful(doubts, sure), ...parts];
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
    const titles = this.sections.map(({ name, label, root }) => ({ name, label, panel: root }));
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
    for (const section of this.sections) {
      for (const control of section.controls) {
        const { name, show } = control;
        const state = `${now.parameters[name] ?? now.discrete[name]} ${changed.has(name)}`;
        if (this.shown.get(control) === state) continue;
        this.shown.set(control, state);
        show(changed.has(name));
      }
      const isChanged = section.controls.some(({ name }) => changed.has(name));
      section.reset.hidden = !isChanged;
      this.tabs.mark(section.name, isChanged);
    }
    this.onlyChanged.textContent = changed.size === 0 ? "Changed" : `Changed ${changed.size}`;
    this.resetAll.disabled = changed.size === 0;
  }

  private part(part: Part, sure: Sure): Section {
    const groups = this.schema.groups.filter((group) => group.part === part.name);
    const choices = groups.map((group) => this.choicesOf(group, group.choices, part.label, sure));
    const controls = [...choices, ...this.slidersOf(part)];
    return this.section(part.name, part.label, `Reset ${part.label.toLowerCase()}`, controls);
  }

  private doubtful(doubts: readonly Doubt[], sure: Sure): Section {
    const controls = doubts.map(({ group, likely }) => this.choicesOf(group, likely, "", sure));
    return { ...this.section("likeness.doubts", "Not sure", "Reset these", controls), isRepeated: true };
  }

  private section(name: string, label: string, resets: string, controls: Control[]): Section {
    const names = controls.map((control) => control.name);
    const reset = element(
      "button",
      { type: "button", class: "quiet", onclick: () => this.editor.reset(names) },
      resets,
    );
    const root = element(
      "section",
      { class: "section", id: freshId("section") },
      element("div", { class: "section-head" }, element("h2", {}, label), reset),
      ...controls.map((control) => control.root),
    );
    return { name, label, controls, root, reset, isRepeated: false };
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

  private choicesOf(group: Group, offered: readonly Choice[], part: string, sure: Sure): Control {
    const { editor } = this;
    const { name, label, neutral } = group;
    const read = editor.read.discrete[name] ?? neutral;
    const grid = new ChoiceGrid(group, offered, read, sure(name, read), {
      choose: (group: string, choice: string) => editor.choose(group, choice),
      reset: (name: string) => editor.reset([name]),
    });
    const show = (isChanged: boolean) => grid.show(editor.now.discrete[name] ?? neutral, isChanged);
    const words = [label, part, ...offered.map((choice) => choice.label)].join(" ").toLowerCase();
    return { name, words, root: grid.root, show };
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
    for (const { controls, root, isRepeated } of this.sections) {
      let here = 0;
      for (const control of controls) {
        const fits =
          !filtering || (!isRepeated && control.words.includes(sought) && (!onlyChanged || changed.has(control.name)));
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
