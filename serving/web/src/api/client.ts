/** The service over HTTP: its answers as types, its refusals as errors. */

import type { components } from "../api";
import type { Difference } from "../edit/settings";
import type { Schema } from "./schema";

export type Character = components["schemas"]["Character"];
export type Problem = components["schemas"]["Problem"];
export type Remark = components["schemas"]["Remark"];
type ServiceOptions = components["schemas"]["ServiceOptions"];

/** A photo that a person gave, with its name. */
export interface Photo {
  file: Blob;
  name: string;
  /** Whether the person agreed that what is changed of the character is kept, to train on. */
  shares: boolean;
}

/** The service said no, in a problem document (RFC 9457). */
export class Refused extends Error {
  override readonly name = "Refused";

  constructor(
    readonly status: number,
    readonly problem: Partial<Problem>,
    /** Seconds after which the same may succeed; null where the service does not say. */
    readonly retryAfter: number | null,
  ) {
    super(problem.detail ?? problem.title ?? `the service answered with ${status}`);
  }

  /** The last word of the problem's type: `no-face` of `/problems/no-face`. */
  get kind(): string {
    return this.problem.type?.split("/").pop() ?? "";
  }
}

/** No answer at all. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";
}

const KEY = "likeness.key";

export class Client {
  /** Asks for a key when the service wants one; null: the person gave none. */
  askForKey: (wrong: boolean) => Promise<string | null> = () => Promise.resolve(null);
  private key = storedKey();

  schema(): Promise<Schema> {
    return this.json("/v1/schema");
  }

  /** Whether the service keeps what is changed, of those who agree; a service that does not say so does not. */
  async keepsCorrections(): Promise<boolean> {
    return (await this.options())?.keeps_corrections ?? false;
  }

  /** Sites whose pages may show this one in a frame. */
  async frames(): Promise<readonly string[]> {
    return (await this.options())?.frames ?? [];
  }

  /** From now on this is sent: a key, or a player's token. */
  useKey(key: string): void {
    this.key = key;
    try {
      sessionStorage.setItem(KEY, key);
    } catch {
      // A frame may have no storage: the page around gives another token then.
    }
  }

  /** @param refine how the service searches on from its answer: by drawing it, or by its networks alone. */
  create({ file, name, shares }: Photo, signal: AbortSignal, refine?: "engine" | "gradient"): Promise<Character> {
    const form = new FormData();
    form.append("photo", file, name);
    form.append("aligned", "true");
    if (shares) form.append("share_corrections", "true");
    const how = refine === undefined ? "" : `?refine=${refine}`;
    return this.json(`/v1/characters${how}`, { method: "POST", body: form, signal });
  }

  character(id: string): Promise<Character> {
    return this.json(`/v1/characters/${encodeURIComponent(id)}`);
  }

  edit(id: string, edit: Difference): Promise<Character> {
    const body = JSON.stringify(edit);
    const headers = { "Content-Type": "application/json" };
    // The last edit is sent even when the page is being closed.
    return this.json(`/v1/characters/${encodeURIComponent(id)}`, { method: "PATCH", body, headers, keepalive: true });
  }

  /** What is gone already need not be erased. */
  async erase(id: string): Promise<void> {
    try {
      await this.ask(`/v1/characters/${encodeURIComponent(id)}`, { method: "DELETE" });
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) throw error;
    }
  }

  async file(address: string): Promise<Blob> {
    return (await this.ask(address)).blob();
  }

  private options(): Promise<ServiceOptions | null> {
    return this.json<ServiceOptions>("/v1/service").catch(() => null);
  }

  private async json<T>(address: string, request: RequestInit = {}): Promise<T> {
    return (await (await this.ask(address, request)).json()) as T;
  }

  private async ask(address: string, request: RequestInit = {}): Promise<Response> {
    for (;;) {
      const key = this.key;
      const answer = await sent(address, key === null ? request : withKey(request, key));
      if (answer.ok) return answer;
      if (answer.status !== 401) throw await refusal(answer);
      const given = await this.askForKey(key !== null);
      if (given === null) throw await refusal(answer);
      this.useKey(given);
    }
  }
}

/** What this tab was given before. In a frame another player may sit now: the page around is asked. */
function storedKey(): string | null {
  return window.parent === window ? sessionStorage.getItem(KEY) : null;
}

async function sent(address: string, request: RequestInit): Promise<Response> {
  try {
    return await fetch(address, request);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Unreachable("the service does not answer", { cause: error });
  }
}

function withKey(request: RequestInit, key: string): RequestInit {
  return { ...request, headers: { ...request.headers, Authorization: `Bearer ${key}` } };
}

async function refusal(answer: Response): Promise<Refused> {
  const seconds = Number.parseFloat(answer.headers.get("Retry-After") ?? "");
  const problem = await answer.json().catch(() => ({}));
  return new Refused(answer.status, problem as Partial<Problem>, Number.isFinite(seconds) ? seconds : null);
}

const PATIENCE = 8;

/**
 * Ask again when the service is busy (429, 503 with Retry-After), after as long as it says.
 *
 * @param waiting told every second how many are left until the next try.
 */
export async function patiently<T>(
  ask: () => Promise<T>,
  waiting: (seconds: number) => void,
  signal: AbortSignal,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Refused) || error.retryAfter === null || tries === PATIENCE) throw error;
      if (error.status !== 429 && error.status !== 503) throw error;
      for (let left = Math.max(1, Math.ceil(error.retryAfter)); left > 0; left--) {
        waiting(left);
        await pause(1000, signal);
      }
    }
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("given up", "AbortError"));
    });
  });
}
