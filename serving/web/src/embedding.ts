/**
 * The page inside a game's own page (docs/embedding.md): it tells that page what becomes of the character, and asks it
 * for a token of its player. A page that is opened by itself takes a token from its address, `/#token=…`.
 */

import type { Character, Client } from "./api/client";
import type { Settings } from "./edit/settings";
import { element } from "./ui/dom";

/** What the page around hears. */
export type Told =
  | { type: "likeness:ready"; version: 1 }
  | { type: "likeness:token-wanted"; refused: boolean }
  | { type: "likeness:changed"; id: string; parameters: Settings["parameters"]; discrete: Settings["discrete"] }
  | { type: "likeness:done"; id: string; character: Character }
  | { type: "likeness:erased"; ids: readonly string[] };

/** The part of a window that this needs. */
export type Frame = Pick<Window, "addEventListener"> & {
  parent: Pick<Window, "postMessage">;
  location: { ancestorOrigins?: ArrayLike<string> };
};

const TOKEN = "likeness:token";
const PATIENCE = 20_000;

export class Embedding {
  /** Sites that may be told anything; null: not known yet. */
  private allowed: readonly string[] | null = null;
  /** The site of the page around, once it is known. */
  private parent: string | null = null;
  private readonly early: MessageEvent[] = [];
  private readonly wanting = new Set<(token: string) => void>();

  constructor(
    private readonly client: Pick<Client, "useKey">,
    private readonly frame: Frame = window,
    private readonly patience = PATIENCE,
  ) {
    frame.addEventListener("message", (event) => this.hear(event));
  }

  /** Talk to pages of these sites, and say that the page is there. */
  begin(sites: readonly string[]): void {
    this.allowed = sites;
    const around = this.frame.location.ancestorOrigins?.[0] ?? null;
    if (around !== null && sites.includes(around)) this.parent = around;
    this.early.splice(0).forEach((event) => this.hear(event));
    this.tell({ type: "likeness:ready", version: 1 });
  }

  /** A token from the page around; null when it gives none in time. */
  readonly askForToken = (refused: boolean): Promise<string | null> =>
    new Promise((resolve) => {
      const given = (token: string | null): void => {
        clearTimeout(timer);
        this.wanting.delete(given);
        resolve(token);
      };
      const timer = setTimeout(() => given(null), this.patience);
      this.wanting.add(given);
      this.tell({ type: "likeness:token-wanted", refused });
    });

  changed(id: string, { parameters, discrete }: Settings): void {
    this.tell({ type: "likeness:changed", id, parameters, discrete });
  }

  done(character: Character): void {
    this.tell({ type: "likeness:done", id: character.id, character });
  }

  erased(ids: readonly string[]): void {
    this.tell({ type: "likeness:erased", ids });
  }

  private hear(event: MessageEvent): void {
    if (event.source !== this.frame.parent) return;
    if (this.allowed === null) {
      this.early.push(event);
      return;
    }
    const message = event.data as { type?: unknown; token?: unknown } | null;
    if (!this.allowed.includes(event.origin) || message?.type !== TOKEN || typeof message.token !== "string") return;
    this.parent = event.origin;
    this.client.useKey(message.token);
    for (const given of [...this.wanting]) given(message.token);
  }

  /** The browser delivers a message to a page of the site that it names, and to no other. */
  private tell(message: Told): void {
    for (const site of this.parent === null ? (this.allowed ?? []) : [this.parent]) {
      this.frame.parent.postMessage(message, site);
    }
  }
}

/** The embedding of this page; null where it stands by itself. */
export function embeddingOf(client: Client): Embedding | null {
  return window.parent === window ? null : new Embedding(client);
}

/** The button by which a player gives the character to the game. */
export function doneButton(act: () => void): HTMLButtonElement {
  return element("button", { type: "button", class: "primary", onclick: act }, "Use it");
}

/** The token in an address like `/#token=lkt_…` or `/#hT4Rk1&token=lkt_…`, and what the address is without it. */
export function tokenIn(hash: string): { token: string | null; rest: string } {
  const parts = hash.replace(/^#/, "").split("&");
  const found = parts.find((part) => part.startsWith("token="));
  const rest = parts.filter((part) => part !== found).join("&");
  return { token: found === undefined ? null : decodeURIComponent(found.slice("token=".length)), rest };
}

/** The same of this page's address, which is cleaned of it: it shall not be copied with the address. */
export function takeToken(): string | null {
  const { token, rest } = tokenIn(location.hash);
  if (token !== null) history.replaceState(null, "", location.pathname + (rest === "" ? "" : `#${rest}`));
  return token;
}
