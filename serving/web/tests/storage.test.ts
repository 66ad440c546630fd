import { afterEach, describe, expect, it, vi } from "vitest";

import { BrowserStorage } from "../src/storage";

describe("what the page keeps", () => {
  afterEach(() => {
    vi.unstubAllGlobals();
    vi.resetModules();
  });

  it.each([
    ["there is no storage", () => null],
    ["the browser forbids it", () => raise("SecurityError")],
    [
      "it is full",
      () => ({ getItem: () => "old", setItem: () => raise("QuotaExceededError"), removeItem: () => null }),
    ],
  ])("is in its memory where %s", (_, find) => {
    const kept = new BrowserStorage(find as unknown as () => Storage | null);
    kept.setItem("key", "new");
    expect(kept.getItem("key")).toBe("new");
    kept.removeItem("key");
    expect(kept.getItem("key")).not.toBe("new");
  });

  it("is handed to the next load of the page, and not left in its history", async () => {
    const history = {
      state: null as unknown,
      replaceState: (state: unknown) => (history.state = structuredClone(state)),
    };
    vi.stubGlobal("history", history);
    vi.stubGlobal("location", { reload: () => vi.resetModules() });
    const before = await import("../src/storage");
    before.tabStorage.setItem("likeness.key", "lkt_1");
    before.reload();
    const after = await import("../src/storage");
    expect([after.tabStorage.getItem("likeness.key"), history.state]).toEqual(["lkt_1", null]);
  });
});

function raise(name: string): never {
  throw new DOMException("not here", name);
}
