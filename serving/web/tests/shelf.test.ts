import { describe, expect, it } from "vitest";

import { Shelf } from "../src/edit/shelf";

const LATER = new Date(Date.now() + 86_400_000).toISOString();
const BEFORE = new Date(Date.now() - 1000).toISOString();

function storage(): Pick<Storage, "getItem" | "setItem"> {
  const kept = new Map<string, string>();
  return { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => void kept.set(key, value) };
}

describe("the shelf", () => {
  it("has the newest first, each once, and keeps its picture", () => {
    const shelf = new Shelf(storage());
    shelf.put("a", LATER);
    shelf.picture("a", "data:a");
    shelf.put("b", LATER);
    shelf.put("a", LATER);
    expect(shelf.kept.map(({ id, picture }) => [id, picture])).toEqual([
      ["a", "data:a"],
      ["b", null],
    ]);
  });

  it("forgets what is expired or erased, and keeps no picture of what it does not have", () => {
    const shelf = new Shelf(storage());
    shelf.put("old", BEFORE);
    shelf.put("a", LATER);
    shelf.put("b", LATER);
    shelf.remove(["a"]);
    shelf.picture("a", "data:a");
    expect(shelf.kept.map(({ id }) => id)).toEqual(["b"]);
  });

  it("is empty where nothing can be stored, or what is stored is none", () => {
    expect(new Shelf({ getItem: () => "{", setItem: () => undefined }).kept).toEqual([]);
  });
});
