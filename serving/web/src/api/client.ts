/** The service over HTTP: its answers as types, its refusals as errors. */

import type { components } from "../api";
import type { Difference, Settings } from "../edit/settings";
import { tabStorage } from "../storage";
import type { Schema } from "./schema";

export type Character = components["schemas"]["Character"];
export type Code = components["schemas"]["Code"];
export type Problem = components["schemas"]["Problem"];
export type Remark = components["schemas"]["Remark"];
export type ServiceOptions = components["schemas"]["ServiceOptions"];

export interface PhotoFile {
  file: Blob;
  name: string;
}

/** A photo that a person gave, or several of one person. */
export interface Photo {
  files: readonly PhotoFile[];
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

/** Whether nobody knows what became of a request: no answer came, or the same is still at work. */
export function isLost(error: unknown): boolean {
  return error instanceof Unreachable || (error instanceof Refused && error.kind === "in-progress");
}

/** Whether the same may succeed later: nothing was answered, or the service was not able to just then. */
export function mayPass(error: unknown): boolean {
  if (error instanceof Unreachable) return true;
  return error instanceof Refused && (error.status === 429 || error.status >= 500);
}

const KEY = "likeness.key";

export class Client {
  /** Asks for a key when the service wants one; null: the person gave none. */
  askForKey: (wrong: boolean) => Promise<string | null> = () => Promise.resolve(null);
  private key = storedKey();
  /** The Idempotency-Keys of photos that were sent and that nobody knows what became of. */
  private readonly lost = new WeakMap<Blob, string>();

  schema(): Promise<Schema> {
    return this.json("/v1/schema");
  }

  /** What the service was configured to do; nothing, where it does not say. */
  options(): Promise<Partial<ServiceOptions>> {
    return this.json<ServiceOptions>("/v1/service").catch(() => ({}));
  }

  /** From now on this is sent: a key, or a player's token. */
  useKey(key: string): void {
    this.key = key;
    tabStorage.setItem(KEY, key);
  }

  /**
   * A character of a photo: one, also where the photo is sent again because no answer came. Of several photos the service
   * makes one each time, so they are sent again only by the person.
   *
   * @param waiting told every second how many are left until the next try, and why.
   * @param refine how the service searches on from its answer: by drawing it, or by its networks alone.
   * @param sent told how much of the photos is sent, from 0 to 1.
   */
  async create(
    photo: Photo,
    waiting: (seconds: number, error: unknown) => void,
    signal: AbortSignal,
    refine?: "engine" | "gradient",
    sent: (share: number) => void = () => undefined,
  ): Promise<Character> {
    const { file } = photo.files[0]!;
    const key = photo.files.length > 1 ? null : (this.lost.get(file) ?? newKey());
    this.lost.delete(file);
    try {
      return await patiently(() => this.createOnce(photo, key, signal, refine, sent), waiting, signal, key !== null);
    } catch (error) {
      if (key !== null && isLost(error)) this.lost.set(file, key);
      throw error;
    }
  }

  private async createOnce(
    { files, shares }: Photo,
    key: string | null,
    signal: AbortSignal,
    refine: "engine" | "gradient" | undefined,
    sent: (share: number) => void,
  ): Promise<Character> {
    const form = new FormData();
    for (const { file, name } of files) form.append("photo", file, name);
    form.append("aligned", "true");
    if (shares) form.append("share_corrections", "true");
    const how = refine === undefined ? "" : `?refine=${refine}`;
    const headers: Record<string, string> = key === null ? {} : { "Idempotency-Key": key };
    const request = { method: "POST", body: form, headers, signal };
    const send = (address: string, request: RequestInit): Promise<Response> => uploaded(address, request, sent);
    const where = files.length > 1 ? "/v1/characters:person" : "/v1/characters";
    return (await (await this.ask(where + how, request, send)).json()) as Character;
  }

  /** Somebody who does not exist. */
  random(): Promise<Pick<Character, "parameters" | "discrete">> {
    return this.json("/v1/random");
  }

  /** A picture of a character that need not be kept anywhere. */
  async render({ parameters, discrete }: Settings, size: number, signal: AbortSignal): Promise<Blob> {
    const body = JSON.stringify({ parameters, discrete });
    const headers = { "Content-Type": "application/json" };
    return (await this.ask(`/v1/render.webp?size=${size}`, { method: "POST", body, headers, signal })).blob();
  }

  character(id: string): Promise<Character> {
    return this.json(`/v1/characters/${encodeURIComponent(id)}`);
  }

  /** A short code for a character. */
  code(id: string): Promise<Code> {
    return this.json(`/v1/characters/${encodeURIComponent(id)}.code`, { method: "POST" });
  }

  byCode(code: string): Promise<Character> {
    return this.json(`/v1/codes/${encodeURIComponent(code)}`);
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

  private async json<T>(address: string, request: RequestInit = {}): Promise<T> {
    return (await (await this.ask(address, request)).json()) as T;
  }

  private async ask(address: string, request: RequestInit = {}, send = sent): Promise<Response> {
    for (;;) {
      const key = this.key;
      const answer = await send(address, key === null ? request : withKey(request, key));
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
  return window.parent === window ? tabStorage.getItem(KEY) : null;
}

async function sent(address: string, request: RequestInit): Promise<Response> {
  try {
    return await fetch(address, request);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Unreachable("the service does not answer", { cause: error });
  }
}

/** The same with XMLHttpRequest, which tells how much of the body is sent; fetch does not. */
function uploaded(address: string, request: RequestInit, progress: (share: number) => void): Promise<Response> {
  return new Promise((resolve, reject) => {
    const asking = new XMLHttpRequest();
    asking.open(request.method ?? "GET", address);
    for (const [name, value] of new Headers(request.headers)) asking.setRequestHeader(name, value);
    asking.responseType = "blob";
    asking.upload.onprogress = ({ lengthComputable, loaded, total }) => lengthComputable && progress(loaded / total);
    asking.upload.onload = () => progress(1);
    asking.onload = () => {
      const { status, response } = asking;
      resolve(new Response(response as Blob, { status, headers: headersOf(asking) }));
    };
    asking.onerror = () => reject(new Unreachable("the service does not answer"));
    asking.onabort = () => reject(new DOMException("given up", "AbortError"));
    request.signal?.addEventListener("abort", () => asking.abort());
    asking.send(request.body as FormData);
  });
}

function headersOf(asking: XMLHttpRequest): Headers {
  const lines = asking.getAllResponseHeaders().trim().split("\r\n");
  return new Headers(lines.map((line) => line.split(/: (.*)/, 2) as [string, string]));
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
/** Seconds: whoever would have to wait for longer is told so instead. */
export const LONGEST_PAUSE = 60;

/**
 * Ask again when the service is busy (429, 503 with Retry-After), after as long as it says, if that is not too long.
 *
 * @param waiting told every second how many are left until the next try, and why.
 * @param isOnce whether the same twice is as good as once: then it is also asked again where no answer came.
 */
export async function patiently<T>(
  ask: () => Promise<T>,
  waiting: (seconds: number, error: unknown) => void,
  signal: AbortSignal,
  isOnce = false,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      const seconds = isOnce && isLost(error) && isOnline() ? 2 ** (tries - 1) : secondsOf(error);
      if (seconds === null || seconds > LONGEST_PAUSE || tries === PATIENCE) throw error;
      for (let left = Math.max(1, Math.ceil(seconds)); left > 0; left--) {
        waiting(left, error);
        await pause(1000, signal);
      }
    }
  }
}

/** Seconds after which a service that is busy may answer; null where it does not say, or is not busy. */
function secondsOf(error: unknown): number | null {
  const isBusy = error instanceof Refused && (error.status === 429 || error.status === 503);
  return isBusy ? error.retryAfter : null;
}

/** Where the browser knows that there is no line, only the person can help. */
function isOnline(): boolean {
  return globalThis.navigator?.onLine !== false;
}

/** Words that no other request has. `crypto.randomUUID` is missing where the page came without TLS. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
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
