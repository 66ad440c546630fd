/**
 * The page in the person's language: a catalogue for each, whose keys are the English texts, in ICU's message format.
 *
 * It is loaded before the page's other modules (`main.ts`), so that their constants are in that language too.
 */

import { IntlMessageFormat } from "intl-messageformat";

import type { Schema } from "./api/schema";
import { browserStorage, reload } from "./storage";

/** Of the page's own texts, and of the words of a schema: parts, sliders, their ends, choices. */
export interface Catalogue {
  messages: Readonly<Record<string, string>>;
  words: Readonly<Record<string, string>>;
}

export const LANGUAGES: Readonly<Record<string, { name: string; load: () => Promise<{ default: Catalogue }> }>> = {
  en: { name: "English", load: () => Promise.resolve({ default: { messages: {}, words: {} } }) },
  de: { name: "Deutsch", load: () => import("./languages/de.json") },
  fr: { name: "Français", load: () => import("./languages/fr.json") },
  es: { name: "Español", load: () => import("./languages/es.json") },
  zh: { name: "简体中文", load: () => import("./languages/zh.json") },
  ja: { name: "日本語", load: () => import("./languages/ja.json") },
};
const CHOSEN = "likeness.language";

let catalogue: Catalogue = { messages: {}, words: {} };
let current = "en";
/** What dates and numbers are written by: the browser's own region, where it is of this language. */
let locale: string | undefined;
const formats = new Map<string, IntlMessageFormat>();

/** The first of the languages that somebody reads which there is; English where there is none. */
export function preferred(wanted: readonly string[]): string {
  const short = wanted.map((tag) => tag.toLowerCase().split("-")[0] ?? "");
  return short.find((language) => language in LANGUAGES) ?? "en";
}

/** Load what was chosen here before, or what the browser asks for. */
export async function loadLanguage(): Promise<void> {
  const chosen = browserStorage.getItem(CHOSEN);
  await use(chosen !== null && chosen in LANGUAGES ? chosen : preferred(navigator.languages));
}

/** From the next load of the page on. */
export function chooseLanguage(language: string): void {
  browserStorage.setItem(CHOSEN, language);
  reload();
}

export async function use(language: string): Promise<void> {
  try {
    catalogue = (await LANGUAGES[language]!.load()).default;
  } catch {
    // Not to be had now: English is there.
    language = "en";
  }
  current = language;
  locale = globalThis.navigator?.languages?.find((tag) => tag.toLowerCase().startsWith(language)) ?? language;
  formats.clear();
  if (typeof document !== "undefined") document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
}

export const language = (): string => current;

/** A text of the page in the person's language. `values`: what stands in its braces. */
export function t(text: string, values?: Readonly<Record<string, string | number>>): string {
  const translated = catalogue.messages[text] ?? text;
  if (values === undefined) return translated;
  let format = formats.get(translated);
  if (format === undefined) {
    format = new IntlMessageFormat(translated, locale);
    formats.set(translated, format);
  }
  return String(format.format(values));
}

export function dateOf(time: string, month: "short" | "long" = "long"): string {
  return new Date(time).toLocaleDateString(locale, { day: "numeric", month });
}

/** "in 12 hours", of so many seconds. */
export function inTime(seconds: number): string {
  const [count, unit] = seconds > 3600 ? ([seconds / 3600, "hour"] as const) : ([seconds / 60, "minute"] as const);
  return new Intl.RelativeTimeFormat(locale).format(Math.ceil(count), unit);
}

/** "skin, hair and beard", as it is said in the language. */
export function listOf(things: readonly string[]): string {
  return new Intl.ListFormat(locale, { type: "conjunction" }).format(things);
}

/** A share of 1 in percent. */
export function percent(share: number): string {
  return new Intl.NumberFormat(locale, { style: "percent" }).format(share);
}

/** A schema in the person's language, as far as its words are known: a studio's own words stay as they are. */
export function translated(schema: Schema): Schema {
  const { words } = catalogue;
  const word = (text: string): string => words[text] ?? text;
  const labelled = <Thing extends { label: string }>(thing: Thing): Thing => ({ ...thing, label: word(thing.label) });
  const end = (text: string | null | undefined): string | null => (text ? word(text) : null);
  return {
    ...schema,
    parts: schema.parts.map(labelled),
    sliders: schema.sliders.map((slider) => ({ ...labelled(slider), low: end(slider.low), high: end(slider.high) })),
    groups: schema.groups.map((group) => ({ ...labelled(group), choices: group.choices.map(labelled) })),
  };
}
