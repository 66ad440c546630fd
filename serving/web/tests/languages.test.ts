import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { IntlMessageFormat } from "intl-messageformat";
import ts from "typescript";
import { afterAll, describe, expect, it } from "vitest";

import type { Schema } from "../src/api/schema";
import { LANGUAGES, preferred, t, translated, use } from "../src/language";

const SOURCE = join(import.meta.dirname, "../src");
const WORDS = JSON.parse(readFileSync(join(import.meta.dirname, "words.json"), "utf8")) as string[];

/** Every text that the page asks a translation of: the literals in the first argument of `t`. */
function texts(): Set<string> {
  const found = new Set<string>();
  for (const name of readdirSync(SOURCE, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".ts") || name.endsWith(".d.ts")) continue;
    const file = ts.createSourceFile(name, readFileSync(join(SOURCE, name), "utf8"), ts.ScriptTarget.Latest);
    const literals = (node: ts.Node): void => {
      if (ts.isStringLiteral(node)) found.add(node.text);
      if (ts.isConditionalExpression(node)) [node.whenTrue, node.whenFalse].forEach(literals);
    };
    const visit = (node: ts.Node): void => {
      if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === "t") {
        literals(node.arguments[0]!);
      }
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  return found;
}

function places(message: string): string[] {
  return [...new Set([...message.matchAll(/\{\s*(\w+)/g)].map(([, name]) => name!))].sort();
}

describe("a catalogue", () => {
  afterAll(() => use("en"));

  it.each(Object.keys(LANGUAGES).filter((code) => code !== "en"))(
    "of %s has every text and word, and no other",
    async (code) => {
      const { messages, words } = (await LANGUAGES[code]!.load()).default;
      expect(Object.keys(messages).sort()).toEqual([...texts()].sort());
      expect(Object.keys(words).sort()).toEqual([...WORDS].sort());
      for (const [text, message] of Object.entries(messages)) {
        expect(() => new IntlMessageFormat(message, code), message).not.toThrow();
        if (!text.includes("plural")) expect(places(message), text).toEqual(places(text));
      }
      expect([...Object.values(messages), ...Object.values(words)].filter((each) => each.trim() === "")).toEqual([]);
    },
  );

  it("is that of the first language that there is", () => {
    expect(preferred(["tlh", "de-AT", "en"])).toBe("de");
    expect(preferred(["tlh"])).toBe("en");
  });

  it("translates texts and a schema's words, and leaves others as they are", async () => {
    await use("de");
    expect(t("Changed {count}", { count: 3 })).toBe("Geändert: 3");
    const slider = { name: "nose", label: "Nose width", low: "narrow", high: null };
    const schema = { parts: [{ label: "Gills" }], sliders: [slider], groups: [] } as unknown as Schema;
    const { parts, sliders } = translated(schema);
    expect([parts[0]!.label, sliders[0]!.label, sliders[0]!.low]).toEqual(["Gills", "Nasenbreite", "schmal"]);
  });
});
