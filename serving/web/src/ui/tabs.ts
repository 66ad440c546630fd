/** Tabs after the ARIA pattern: one stop for the Tab key, arrows go from one to the next. */

import { element, freshId } from "./dom";

interface Title {
  name: string;
  label: string;
  panel: HTMLElement;
}

export class Tabs {
  readonly root: HTMLElement;
  private readonly buttons: HTMLButtonElement[];
  private selected = 0;
  private alone = true;

  constructor(
    private readonly titles: readonly Title[],
    label: string,
    private readonly chosen: (panel: HTMLElement) => void,
  ) {
    this.buttons = titles.map((title, number) => {
      const id = freshId("tab");
      title.panel.setAttribute("role", "tabpanel");
      title.panel.setAttribute("aria-labelledby", id);
      return element(
        "button",
        {
          type: "button",
          role: "tab",
          id,
          "aria-controls": title.panel.id,
          class: "tab",
          onclick: () => this.choose(number),
        },
        title.label,
      );
    });
    this.root = element(
      "div",
      { class: "tabs", role: "tablist", "aria-label": label, onkeydown: (event: KeyboardEvent) => this.key(event) },
      ...this.buttons,
    );
    this.show();
  }

  /** Whether only the selected tab's panel is shown; otherwise its owner shows and hides panels. */
  set shownAlone(alone: boolean) {
    this.alone = alone;
    this.show();
  }

  /** Mark a tab whose panel holds changes. */
  mark(name: string, isMarked: boolean): void {
    const number = this.titles.findIndex((title) => title.name === name);
    this.buttons[number]?.classList.toggle("marked", isMarked);
  }

  /** Show a panel by its name, and put the keyboard onto its tab. */
  open(name: string): void {
    const number = this.titles.findIndex((title) => title.name === name);
    this.choose(number);
    this.buttons[number]?.focus();
  }

  private choose(number: number): void {
    const title = this.titles[number];
    if (title === undefined) return;
    this.selected = number;
    this.show();
    this.chosen(title.panel);
    this.buttons[number]?.scrollIntoView({ block: "nearest", inline: "center" });
  }

  private key(event: KeyboardEvent): void {
    const last = this.buttons.length - 1;
    const steps: Record<string, number> = {
      ArrowRight: this.selected + 1,
      ArrowDown: this.selected + 1,
      ArrowLeft: this.selected - 1,
      ArrowUp: this.selected - 1,
      Home: 0,
      End: last,
    };
    const next = steps[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.choose(next < 0 ? last : next > last ? 0 : next);
    this.buttons[this.selected]?.focus();
  }

  private show(): void {
    this.titles.forEach(({ panel }, number) => {
      const isSelected = number === this.selected;
      this.buttons[number]?.setAttribute("aria-selected", String(isSelected && this.alone));
      this.buttons[number]?.setAttribute("tabindex", isSelected ? "0" : "-1");
      if (this.alone) panel.hidden = !isSelected;
    });
  }
}
