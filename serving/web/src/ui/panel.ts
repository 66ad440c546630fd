/** Everything that can be set, by part of the face; found by name, or only what was changed. */

import type { Choice, Group, Part, Schema, Slider } from "../api/schema";
import type { Candidate } from "../edit/candidates";
import type { Doubt } from "../edit/doubts";
import type { Editor } from "../edit/editor";
import { edited } from "../edit/settings";
import { CandidateGrid } from "./candidates";
import { ChoiceGrid } from "./choices";
import { element, freshId, icon } from "./dom";
import { Mixture, sharesOf } from "./mixture";
import { SliderRow } from "./slider";
import { Tabs } from "./tabs";
import { percent, t } from "../language";

interface Control {
  /** The sliders and groups that it sets. */
  names: string[];
  /** What a search looks in. */
  words: string;
  root: HTMLElement;
  show: (changed: ReadonlySet<string>) => void;
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

/** What has a tab of its own and sets nothing by itself. */
export interface Extra {
  name: string;
  label: string;
  root: HTMLElement;
}

/** What the photo says beside the values themselves. */
export interface Evidence {
  /** How sure the encoder was of a choice, null where it is not known. */
  sure: Sure;
  /** Groups that the photo left open, with their likely choices: they come first. */
  doubts: readonly Doubt[];
  /** Whole characters that it may be of, before all. */
  candidates: readonly Candidate[];
  draw: (candidate: Candidate) => Promise<Blob>;
}

export class Panel {
  readonly root: HTMLElement;
  private readonly sections: Section[];
  private readonly tabs: Tabs;
  private readonly search: HTMLInputElement;
  private readonly onlyChanged: HTMLButtonElement;
  private readonly resetAll: HTMLButtonElement;
  private readonly found = element("p", { class: "found", role: "status" });
  private readonly nothing = element("div", { class: "nothing", role: "status" });
  private readonly shown = new Map<Control, string>();

  constructor(
    private readonly schema: Schema,
    private readonly editor: Editor,
    evidence: Evidence,
    extras: readonly Extra[] = [],
  ) {
    const parts = schema.parts.map((part) => this.part(part, evidence.sure));
    const doubtful = evidence.doubts.length === 0 ? [] : [this.doubtful(evidence)];
    this.sections = [...doubtful, ...parts, ...extras.map((extra) => this.extra(extra))];
    this.search = element("input", {
      type: "search",
      placeholder: t("Find beard, nose …"),
      "aria-label": t("Find a slider or choice by its name"),
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => this.arrange(),
    });
    this.onlyChanged = element(
      "button",
      { type: "button", class: "chip", "aria-pressed": "false", onclick: () => this.toggleChanged() },
      t("Changed"),
    );
    this.resetAll = element(
      "button",
      { type: "button", class: "quiet", onclick: () => editor.reset() },
      t("Reset all"),
    );
    const titles = this.sections.map(({ name, label, root }) => ({ name, label, panel: root }));
    this.tabs = new Tabs(titles, t("Parts of the face"), (panel) => this.openPart(panel));
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
      element("div", { class: "sections" }, this.found, ...this.sections.map(({ root }) => root), this.nothing),
    );
    this.arrange();
    this.update();
  }

  /** Show what the editor has; only what is new is touched. */
  update(): void {
    const { now, changed } = this.editor;
    for (const section of this.sections) {
      for (const control of section.controls) {
        const { names, show } = control;
        const state = names.map((name) => `${now.parameters[name] ?? now.discrete[name]} ${changed.has(name)}`).join();
        if (this.shown.get(control) === state) continue;
        this.shown.set(control, state);
        show(changed);
      }
      const isChanged = section.controls.some(({ names }) => names.some((name) => changed.has(name)));
      section.reset.hidden = !isChanged;
      this.tabs.mark(section.name, isChanged);
    }
    this.onlyChanged.textContent = changed.size === 0 ? t("Changed") : t("Changed {count}", { count: changed.size });
    this.resetAll.disabled = changed.size === 0;
  }

  private part(part: Part, sure: Sure): Section {
    const groups = this.schema.groups.filter((group) => group.part === part.name);
    const choices = groups.map((group) => this.choicesOf(group, group.choices, part.label, sure));
    const shares = new Set(Object.values(this.schema.figure?.shares ?? {}));
    const sliders = this.schema.sliders.filter((slider) => slider.part === part.name);
    const mixed = sliders.filter(({ name }) => shares.has(name));
    const mixture = mixed.length < 2 ? [] : [this.mixtureOf(mixed, part)];
    const single = sliders.filter((slider) => mixed.length < 2 || !mixed.includes(slider));
    const controls = [...mixture, ...choices, ...single.map((slider) => this.sliderOf(slider, part))];
    return this.section(part.name, part.label, t("Reset {name}", { name: part.label }), controls);
  }

  private doubtful({ doubts, candidates, draw, sure }: Evidence): Section {
    const groups = doubts.map(({ group, likely }) => this.choicesOf(group, likely, "", sure));
    const controls = candidates.length < 2 ? groups : [this.candidatesOf(candidates, draw), ...groups];
    return { ...this.section("likeness.doubts", t("Not sure"), t("Reset these"), controls), isRepeated: true };
  }

  private extra({ name, label, root }: Extra): Section {
    const section = this.section(`likeness.${name}`, label, "", []);
    section.root.append(root);
    return { ...section, isRepeated: true };
  }

  private section(name: string, label: string, resets: string, controls: Control[]): Section {
    const names = controls.flatMap((control) => control.names);
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

  private sliderOf(slider: Slider, part: Part, inWords?: (value: number) => string): Control {
    const { editor } = this;
    const { name, label, neutral } = slider;
    const events = {
      slide: (name: string, value: number) => editor.slide(name, value),
      settle: () => editor.settle(),
      reset: (name: string) => editor.reset([name]),
    };
    const row = new SliderRow(slider, editor.read.parameters[name] ?? neutral, events, inWords);
    const show = (changed: ReadonlySet<string>) => row.show(editor.now.parameters[name] ?? neutral, changed.has(name));
    return { names: [name], words: `${label} ${part.label}`.toLowerCase(), root: row.root, show };
  }

  /** Sliders that are read together: what one has is a share of the sum. */
  private mixtureOf(sliders: readonly Slider[], part: Part): Control {
    const { editor } = this;
    const controls = sliders.map((slider, at) =>
      this.sliderOf(slider, part, () => percent(sharesOf(sliders, editor.now)[at] ?? 0)),
    );
    const mixture = new Mixture(
      sliders,
      controls.map(({ root }) => root),
    );
    const show = (changed: ReadonlySet<string>): void => {
      mixture.show(editor.now);
      for (const control of controls) control.show(changed);
    };
    const words = [t("Face type").toLowerCase(), ...controls.map((control) => control.words)].join(" ");
    return { names: sliders.map(({ name }) => name), words, root: mixture.root, show };
  }

  private choicesOf(group: Group, offered: readonly Choice[], part: string, sure: Sure): Control {
    const { editor } = this;
    const { name, label, neutral } = group;
    const read = editor.read.discrete[name] ?? neutral;
    const grid = new ChoiceGrid(group, offered, read, sure(name, read), {
      choose: (group: string, choice: string) => editor.choose(group, choice),
      reset: (name: string) => editor.reset([name]),
    });
    const show = (changed: ReadonlySet<string>) => grid.show(editor.now.discrete[name] ?? neutral, changed.has(name));
    const words = [label, part, ...offered.map((choice) => choice.label)].join(" ").toLowerCase();
    return { names: [name], words, root: grid.root, show };
  }

  private candidatesOf(candidates: readonly Candidate[], draw: Evidence["draw"]): Control {
    const { editor } = this;
    const choose = (candidate: Candidate): void => {
      const discrete = Object.fromEntries([...candidate].map(([group, { name }]) => [group, name] as const));
      editor.set(edited(editor.now, { parameters: {}, discrete }));
    };
    const grid = new CandidateGrid(candidates, { choose, draw });
    const names = [...candidates[0]!.keys()];
    return { names, words: "", root: grid.root, show: () => grid.show(editor.now) };
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
        const isWanted = !onlyChanged || control.names.some((name) => changed.has(name));
        const fits = !filtering || (!isRepeated && control.words.includes(sought) && isWanted);
        control.root.hidden = !fits;
        if (fits) here += control.names.length;
      }
      if (filtering) root.hidden = here === 0;
      found += here;
    }
    this.root.classList.toggle("filtering", filtering);
    this.tabs.shownAlone = !filtering;
    if (filtering) this.nothing.parentElement?.scrollTo(0, 0);
    this.found.hidden = !filtering || found === 0;
    this.found.textContent = this.found.hidden
      ? ""
      : t("{count, plural, one {# found} other {# found}}", { count: found });
    this.nothing.hidden = !filtering || found > 0;
    this.nothing.replaceChildren(...(this.nothing.hidden ? [] : this.instead(onlyChanged && changed.size === 0)));
  }

  /** What to say, and to offer, where nothing fits. */
  private instead(isUnchanged: boolean): (HTMLElement | string)[] {
    if (isUnchanged) return [t("Nothing was changed yet: this is what your photo gave.")];
    const parts = this.sections.filter(({ isRepeated }) => !isRepeated);
    const offered = parts.map(({ name, label }) =>
      element("button", { type: "button", class: "chip", onclick: () => this.tabs.open(name) }, label),
    );
    return [
      element("p", {}, t("Nothing here has that name. There is:")),
      element("div", { class: "offered" }, ...offered),
    ];
  }
}
