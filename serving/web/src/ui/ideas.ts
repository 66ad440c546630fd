/** Changes of the whole face at once, each a step that can be undone. */

import type { Schema } from "../api/schema";
import { canBeSymmetric, cartoon, shuffled, softened, symmetric } from "../edit/directions";
import type { Editor } from "../edit/editor";
import type { Settings } from "../edit/settings";
import { element } from "./dom";
import { t } from "../language";

export class Ideas {
  readonly root: HTMLElement;
  private readonly kept = new Map<string, HTMLInputElement>();
  private readonly message = element("p", { class: "found", role: "status" });

  /** @param random somebody else's values. */
  constructor(
    private readonly schema: Schema,
    private readonly editor: Editor,
    private readonly random: () => Promise<Settings>,
  ) {
    const { parts } = schema;
    const boxes = parts.map(({ name, label }) => {
      const box = element("input", { type: "checkbox" });
      this.kept.set(name, box);
      return element("label", { class: "keep" }, box, element("span", { class: "chip" }, label));
    });
    this.root = element(
      "div",
      { class: "ideas" },
      element("p", { class: "hint" }, t("Each is one step: Undo takes it back. Press one again for more of it.")),
      element(
        "div",
        { class: "offered" },
        this.action(t("More like a cartoon"), (now) => cartoon(schema, now)),
        this.action(t("Softer"), (now) => softened(schema, now)),
        canBeSymmetric(schema) ? this.action(t("Symmetrical"), (now) => symmetric(schema, now)) : null,
      ),
      element("h3", {}, t("Shuffle")),
      element("p", { class: "hint" }, t("Somebody else's face; what you mark stays yours.")),
      element(
        "fieldset",
        { class: "choices" },
        element("legend", { class: "unseen" }, t("What stays as it is")),
        element("div", { class: "offered" }, ...boxes),
      ),
      element(
        "button",
        { type: "button", class: "secondary", onclick: () => void this.shuffle() },
        t("Shuffle the rest"),
      ),
      this.message,
    );
  }

  private action(label: string, change: (now: Settings) => Settings): HTMLElement {
    const act = (): void => this.editor.set(change(this.editor.now));
    return element("button", { type: "button", class: "chip", onclick: act }, label);
  }

  private async shuffle(): Promise<void> {
    this.message.textContent = "";
    try {
      const other = await this.random();
      const kept = new Set([...this.kept].filter(([, box]) => box.checked).map(([name]) => name));
      this.editor.set(shuffled(this.schema, this.editor.now, other, kept));
    } catch {
      this.message.textContent = t("The service did not answer. Try again.");
    }
  }
}
