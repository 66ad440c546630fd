/** Where a short code is typed in that somebody else read aloud. */

import { messageFor } from "../api/messages";
import { t } from "../language";
import { element, freshId } from "./dom";

export class CodeEntry {
  readonly root: HTMLElement;
  private readonly field: HTMLInputElement;
  private readonly message = element("p", { role: "status" });

  /** @param open shows the character of a code. */
  constructor(private readonly open: (code: string) => Promise<void>) {
    const id = freshId("code");
    this.field = element("input", {
      type: "text",
      id,
      required: true,
      maxlength: 32,
      placeholder: "K7M2-QX9D",
      autocomplete: "off",
      autocapitalize: "characters",
      spellcheck: "false",
    });
    this.root = element(
      "form",
      {
        class: "code-entry",
        onsubmit: (event: SubmitEvent) => {
          event.preventDefault();
          void this.take();
        },
      },
      element("label", { for: id }, t("Code of a character")),
      element("div", { class: "link-row" }, this.field, element("button", { class: "secondary" }, t("Open"))),
      this.message,
    );
  }

  private async take(): Promise<void> {
    this.message.textContent = "";
    try {
      await this.open(this.field.value);
      this.field.value = "";
    } catch (error) {
      const { title, advice } = messageFor(error);
      this.message.textContent = `${title}. ${advice}`;
    }
  }
}
