/** Which language the page is in. */

import { chooseLanguage, language, LANGUAGES, t } from "../language";
import { element } from "./dom";

export function languageSwitch(): HTMLElement {
  const options = Object.entries(LANGUAGES).map(([code, { name }]) =>
    element("option", { value: code, lang: code, selected: code === language() }, name),
  );
  const select = element(
    "select",
    { "aria-label": t("Language"), onchange: () => chooseLanguage(select.value) },
    ...options,
  );
  return element("div", { class: "language" }, select);
}
