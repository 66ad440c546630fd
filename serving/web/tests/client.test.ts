import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Client, Refused, Unreachable, type Photo } from "../src/api/client";

type Answer = { status: number; body: object } | "lost";

const MADE: Answer = { status: 201, body: { id: "made" } };
const AT_WORK: Answer = { status: 409, body: { type: "/problems/in-progress" } };
const NOBODY: Answer = { status: 422, body: { type: "/problems/no-face" } };

/** What the service answers, one after the other, and the keys of what it was sent. */
function service(...answers: Answer[]): (string | undefined)[] {
  const keys: (string | undefined)[] = [];
  class Sent {
    upload = {};
    status = 0;
    response: Blob | null = null;
    onload = (): void => undefined;
    onerror = (): void => undefined;
    private readonly headers: Record<string, string> = {};
    open(): void {}
    setRequestHeader(name: string, value: string): void {
      this.headers[name] = value;
    }
    getAllResponseHeaders(): string {
      return "retry-after: 1";
    }
    send(): void {
      keys.push(this.headers["idempotency-key"]);
      const answer = answers.shift()!;
      if (answer === "lost") return this.onerror();
      this.status = answer.status;
      this.response = new Blob([JSON.stringify(answer.body)]);
      this.onload();
    }
  }
  vi.stubGlobal("XMLHttpRequest", Sent);
  return keys;
}

function photo(count = 1): Photo {
  return { files: Array.from({ length: count }, () => ({ file: new Blob(["me"]), name: "me.jpg" })), shares: false };
}

describe("a photo that is sent", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const window: { parent?: object } = {};
    window.parent = window;
    vi.stubGlobal("window", window);
    vi.stubGlobal("navigator", { onLine: true });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  async function sent(client: Client, of: Photo): Promise<unknown> {
    const answer = client
      .create(of, () => undefined, new AbortController().signal)
      .then(({ id }) => id)
      .catch((error: unknown) => error);
    let isThere = false;
    void answer.then(() => (isThere = true));
    while (!isThere) await vi.advanceTimersToNextTimerAsync();
    return answer;
  }

  it("is sent again with its key where no answer came, and while the first is at work", async () => {
    const keys = service("lost", AT_WORK, MADE);
    expect(await sent(new Client(), photo())).toBe("made");
    expect([keys.length, new Set(keys).size, keys[0]?.length]).toEqual([3, 1, 32]);
  });

  it("keeps its key for whoever tries again, until there is an answer", async () => {
    const keys = service("lost", NOBODY, MADE);
    const [client, own] = [new Client(), photo()];
    vi.stubGlobal("navigator", { onLine: false });
    expect(await sent(client, own)).toBeInstanceOf(Unreachable);
    expect(await sent(client, own)).toBeInstanceOf(Refused);
    expect(await sent(client, own)).toBe("made");
    expect(keys[0]).toBe(keys[1]);
    expect(keys[2]).not.toBe(keys[0]);
  });

  it("is not sent again by itself with others of one person, of which each time a character would come", async () => {
    const keys = service("lost");
    expect(await sent(new Client(), photo(2))).toBeInstanceOf(Unreachable);
    expect(keys).toEqual([undefined]);
  });
});
