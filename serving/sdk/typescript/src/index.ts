/**
 * A client of the likeness service, for a game's server or its page.
 *
 * What is asked most has a method; everything else is at hand, with types, as `client.api` (openapi-fetch).
 */

import createClient, { type Client, type Middleware } from "openapi-fetch";

import type { components, paths } from "./api.js";

type Schemas = components["schemas"];
export type Character = Schemas["Character"];
export type CharacterValues = Schemas["CharacterValues"];
export type Code = Schemas["Code"];
export type Edit = Schemas["Edit"];
export type Erased = Schemas["Erased"];
export type Job = Schemas["Job"];
export type Preset = Schemas["Preset"];
export type Problem = Schemas["Problem"];
export type RandomCharacter = Schemas["RandomCharacter"];
export type RandomQuery = Schemas["RandomQuery"];
export type SchemaDocument = Schemas["SchemaDocument"];
export type Token = Schemas["Token"];
export type { components, paths };

export type Form = "png" | "webp" | "glb" | "vrm" | "mhm";
export type Options = Readonly<Record<string, string | number>>;

/** The service said no, in a problem document (RFC 9457). */
export class LikenessError extends Error {
  override readonly name = "LikenessError";

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

export interface LikenessOptions {
  /** Where the service is: https://likeness.example */
  service: string;
  /** An API key, or a player's token. A key belongs on the game's server, never into what players download. */
  key?: string;
  /**
   * How often a request is sent again that the service was too busy for, or that no answer came to, where it asks only or
   * has an Idempotency-Key; by default 5.
   */
  retries?: number;
  fetch?: typeof globalThis.fetch;
}

export interface PhotoOptions {
  player?: string;
  keepPhoto?: boolean;
  shareCorrections?: boolean;
  refine?: "gradient" | "engine";
  /**
   * Words of yours, new for each photo. With the same ones the call can be made again for a day, after a reload of the page
   * too, and answers with the same character.
   */
  idempotencyKey?: string;
}

const LONGEST_PAUSE = 60;

export class Likeness {
  /** Every operation of the service by its path, with types. */
  readonly api: Client<paths>;
  private readonly service: string;
  private readonly send: typeof globalThis.fetch;

  constructor({ service, key, retries = 5, fetch = globalThis.fetch }: LikenessOptions) {
    this.service = service.replace(/\/$/, "");
    const headers: Record<string, string> = key === undefined ? {} : { Authorization: `Bearer ${key}` };
    this.send = patient(fetch, headers, retries);
    this.api = createClient<paths>({ baseUrl: this.service, fetch: (request) => this.send(request) });
    this.api.use(refusals);
  }

  /** A character of a photo. Sent again after a broken line, it is made once. */
  async create(photo: Blob, options: PhotoOptions = {}): Promise<Character> {
    const { idempotencyKey = newKey() } = options;
    return this.form("/v1/characters", [photo], { ...options, idempotencyKey }) as Promise<Character>;
  }

  /** One character of several photos of one person. */
  async createOfPerson(
    photos: readonly Blob[],
    options: Omit<PhotoOptions, "keepPhoto" | "idempotencyKey"> = {},
  ): Promise<Character> {
    return this.form("/v1/characters:person", photos, options) as Promise<Character>;
  }

  async character(id: string): Promise<{ character: Character; etag: string }> {
    const { data, response } = await this.api.GET("/v1/characters/{id}", { params: { path: { id } } });
    return { character: data! as Character, etag: response.headers.get("ETag") ?? "" };
  }

  /** Set some sliders and choices. `etag`: only if nobody changed the character since it was read. */
  async change(id: string, edit: Partial<Edit>, etag?: string): Promise<Character> {
    const header = etag === undefined ? {} : { "if-match": etag };
    const { data } = await this.api.PATCH("/v1/characters/{id}", {
      params: { path: { id }, header },
      body: edit as Edit,
    });
    return data! as Character;
  }

  async erase(id: string): Promise<void> {
    await this.api.DELETE("/v1/characters/{id}", { params: { path: { id } } });
  }

  /** A character's file: `file(id, "png", { size: 256, expression: "smile" })`. */
  file(id: string, form: Form, options: Options = {}): Promise<ArrayBuffer> {
    return this.bytes(`/v1/characters/${encodeURIComponent(id)}.${form}`, options);
  }

  /** The same of values alone, which the service does not keep. */
  render(values: Partial<CharacterValues>, form: Form, options: Options = {}): Promise<ArrayBuffer> {
    const headers = { "Content-Type": "application/json" };
    return this.bytes(`/v1/render.${form}`, options, { method: "POST", body: JSON.stringify(values), headers });
  }

  /** All sliders and choices, and how they move a mesh. */
  async schema(): Promise<SchemaDocument> {
    return (await this.api.GET("/v1/schema")).data!;
  }

  async random(decided: Partial<RandomQuery> = {}): Promise<RandomCharacter> {
    return (await this.api.POST("/v1/random", { body: decided as RandomQuery })).data!;
  }

  async presets(): Promise<Preset[]> {
    return (await this.api.GET("/v1/presets")).data!.presets;
  }

  /** A short-lived token for one player, for the page in a frame. */
  async tokenFor(player: string, seconds = 3600): Promise<Token> {
    return (await this.api.POST("/v1/tokens", { body: { player, seconds } })).data!;
  }

  /** A short code for a character, to be read aloud or typed in. */
  async codeFor(id: string, seconds = 86_400): Promise<Code> {
    const params = { path: { id } };
    return (await this.api.POST("/v1/characters/{id}.code", { params, body: { seconds } })).data!;
  }

  /** The character of a code, however somebody typed it. */
  async characterOfCode(code: string): Promise<Character> {
    return (await this.api.GET("/v1/codes/{code}", { params: { path: { code } } })).data! as Character;
  }

  async charactersOf(player: string): Promise<Character[]> {
    const params = { path: { player } };
    return (await this.api.GET("/v1/players/{player}/characters", { params })).data!.characters as Character[];
  }

  async erasePlayer(player: string): Promise<Erased> {
    return (await this.api.DELETE("/v1/players/{player}/characters", { params: { path: { player } } })).data!;
  }

  /**
   * Many photos, read one after the other. `callback`: an address that the service may tell when it is done;
   * `idempotencyKey`: as of `create`.
   */
  async startJob(
    photos: readonly Blob[],
    options: { callback?: string; players?: readonly string[]; idempotencyKey?: string } = {},
  ): Promise<Job> {
    const { idempotencyKey = newKey() } = options;
    return this.form("/v1/jobs", photos, { ...options, idempotencyKey }) as Promise<Job>;
  }

  /** A job once nothing more comes of it. */
  async finished(id: string, everySeconds = 2): Promise<Job> {
    for (;;) {
      const job = (await this.api.GET("/v1/jobs/{job}", { params: { path: { job: id } } })).data!;
      if (job.state !== "running") return job;
      await pause(everySeconds);
    }
  }

  private async form(
    path: string,
    photos: readonly Blob[],
    { refine, idempotencyKey, ...fields }: PhotoOptions & { callback?: string; players?: readonly string[] },
  ): Promise<unknown> {
    const form = new FormData();
    for (const [number, photo] of photos.entries()) form.append("photo", photo, nameOf(photo, number));
    if (fields.player !== undefined) form.append("player", fields.player);
    for (const player of fields.players ?? []) form.append("player", player);
    if (fields.keepPhoto) form.append("keep_photo", "true");
    if (fields.shareCorrections) form.append("share_corrections", "true");
    if (fields.callback !== undefined) form.append("callback", fields.callback);
    const address = this.address(path, refine === undefined ? {} : { refine });
    const headers: Record<string, string> = idempotencyKey === undefined ? {} : { "Idempotency-Key": idempotencyKey };
    return (await this.ask(address, { method: "POST", body: form, headers })).json();
  }

  private async bytes(path: string, options: Options, request: RequestInit = {}): Promise<ArrayBuffer> {
    return (await this.ask(this.address(path, options), request)).arrayBuffer();
  }

  private async ask(address: string, request: RequestInit): Promise<Response> {
    const answer = await this.send(new Request(address, request));
    if (!answer.ok) throw await refusal(answer);
    return answer;
  }

  private address(path: string, options: Options): string {
    const query = new URLSearchParams(Object.entries(options).map(([name, value]) => [name, String(value)]));
    return this.service + path + (query.size === 0 ? "" : `?${query}`);
  }
}

const refusals: Middleware = {
  async onResponse({ response }) {
    if (!response.ok) throw await refusal(response);
  },
};

async function refusal(answer: Response): Promise<LikenessError> {
  const problem = (await answer.json().catch(() => ({}))) as Partial<Problem>;
  return new LikenessError(answer.status, problem, secondsOf(answer));
}

/**
 * Sends a request again when the service is busy (429, 503), after as long as it says, and when no answer came, if the same
 * twice is as good as once.
 */
function patient(fetch: typeof globalThis.fetch, headers: Record<string, string>, retries: number): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init);
    for (const [name, value] of Object.entries(headers)) request.headers.set(name, value);
    const isOnce = request.method === "GET" || request.headers.has("Idempotency-Key");
    for (let tries = 0; ; tries++) {
      const isLast = tries === retries;
      const answer = await whole(fetch, request.clone()).catch((error: unknown) => {
        if (!isOnce || isLast || request.signal.aborted) throw error;
        return null;
      });
      const seconds = pauseAfter(answer, tries);
      if (answer !== null && (isLast || seconds === null || seconds > LONGEST_PAUSE)) return answer;
      await pause(seconds!);
    }
  };
}

/** An answer with all of its body: the line may break within it. */
async function whole(fetch: typeof globalThis.fetch, request: Request): Promise<Response> {
  const answer = await fetch(request);
  const body = await answer.arrayBuffer();
  return new Response(body.byteLength === 0 ? null : body, answer);
}

/** Seconds until the next try; null where it cannot help. Longer each time, where the service cannot say how long it takes. */
function pauseAfter(answer: Response | null, tries: number): number | null {
  const growing = Math.min(2 ** tries, LONGEST_PAUSE);
  if (answer === null) return growing;
  const seconds = secondsOf(answer);
  // The first of these requests is still at work.
  if (answer.status === 409 && seconds !== null) return Math.max(seconds, growing);
  return answer.status === 429 || answer.status === 503 ? seconds : null;
}

function secondsOf(answer: Response): number | null {
  const seconds = Number.parseFloat(answer.headers.get("Retry-After") ?? "");
  return Number.isFinite(seconds) ? seconds : null;
}

function nameOf(photo: Blob, number: number): string {
  return photo instanceof File && photo.name !== "" ? photo.name : `photo-${number + 1}`;
}

/** Words that no other request has. `crypto.randomUUID` is missing on pages that came without TLS. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const pause = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
