import { describe, expect, it, vi } from "vitest";

import { Embedding, tokenIn, type Frame, type Told } from "../src/embedding";

const GAME = "https://game.example";
const OTHER = "https://other.example";

/** A page in a frame of `around`, whose browser delivers as browsers do. */
function framed(around: string, knowsAncestors = true) {
  const heard: Told[] = [];
  const keys: string[] = [];
  let listener: (event: MessageEvent) => void = () => undefined;
  const parent = {
    postMessage: (message: Told, site: string) => {
      if (site === around) heard.push(message);
    },
  };
  const frame = {
    parent,
    location: knowsAncestors ? { ancestorOrigins: [around] } : {},
    addEventListener: (_: string, hear: (event: MessageEvent) => void) => (listener = hear),
  };
  const embedding = new Embedding({ useKey: (key) => keys.push(key) }, frame as unknown as Frame, 1000);
  const say = (data: unknown, origin = around, source: unknown = parent): void =>
    listener({ data, origin, source } as MessageEvent);
  return { embedding, heard, keys, say };
}

describe("the page in a frame", () => {
  it.each([true, false])("tells the page around, and no other (the browser tells who that is: %s)", (known) => {
    for (const [around, expected] of [
      [GAME, 2],
      [OTHER, 0],
    ] as const) {
      const { embedding, heard } = framed(around, known);
      embedding.begin([GAME]);
      embedding.changed("id", { parameters: { nose_width: 0.5 }, discrete: {} });
      expect(heard.map(({ type }) => type)).toEqual(["likeness:ready", "likeness:changed"].slice(0, expected));
    }
  });

  it("takes a token from the page around alone, also one that came early", async () => {
    const { embedding, keys, say } = framed(GAME);
    say({ type: "likeness:token", token: "early" });
    embedding.begin([GAME]);
    say({ type: "likeness:token", token: "forged" }, OTHER);
    say({ type: "likeness:token", token: "of a frame below" }, GAME, {});
    say({ type: "likeness:token", token: 7 });
    say(null);
    expect(keys).toEqual(["early"]);
  });

  it("asks for a token when one is wanted, and gives up when none comes", async () => {
    vi.useFakeTimers();
    const { embedding, heard, say } = framed(GAME);
    embedding.begin([GAME]);
    const [first, second] = [embedding.askForToken(false), embedding.askForToken(true)];
    expect(heard.slice(1)).toEqual([false, true].map((refused) => ({ type: "likeness:token-wanted", refused })));
    say({ type: "likeness:token", token: "lkt_1" });
    expect(await Promise.all([first, second])).toEqual(["lkt_1", "lkt_1"]);
    const never = embedding.askForToken(false);
    await vi.runAllTimersAsync();
    expect(await never).toBeNull();
    vi.useRealTimers();
  });
});

describe("an address", () => {
  it("may bring a token, beside a character", () => {
    expect(tokenIn("#token=lkt_a")).toEqual({ token: "lkt_a", rest: "" });
    expect(tokenIn("#hT4Rk1&token=lkt_a")).toEqual({ token: "lkt_a", rest: "hT4Rk1" });
    expect(tokenIn("#hT4Rk1")).toEqual({ token: null, rest: "hT4Rk1" });
  });
});
