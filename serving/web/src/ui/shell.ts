/** The page's frame: bar, viewer, side; and the places where the other parts go. */

import { element, icon, type Icon } from "./dom";
import { StatusLine } from "./statusLine";
import { t } from "../language";

export interface Shell {
  root: HTMLElement;
  canvas: HTMLElement;
  viewer: HTMLElement;
  foot: HTMLElement;
  side: HTMLElement;
  tools: HTMLElement;
  undo: HTMLButtonElement;
  redo: HTMLButtonElement;
  status: StatusLine;
}

export interface ShellEvents {
  share: () => void;
  undo: () => void;
  redo: () => void;
  anew: () => void;
}

export function shell(events: ShellEvents): Shell {
  const undo = tool("undo", t("Undo"), "Ctrl+Z", events.undo);
  const redo = tool("redo", t("Redo"), "Ctrl+Shift+Z", events.redo);
  const anew = element(
    "button",
    { type: "button", class: "secondary", onclick: events.anew },
    icon("plus"),
    element("span", {}, t("New photo")),
  );
  const share = element(
    "button",
    { type: "button", class: "round", "aria-label": t("Share"), title: t("Share"), onclick: events.share },
    icon("share"),
  );
  const tools = element("div", { class: "tools", hidden: true }, undo, redo, share, anew);
  const canvas = element("div", { class: "canvas" });
  const foot = element("div", { class: "viewer-foot" });
  const viewer = element("section", { class: "viewer loading", "aria-label": t("The character") }, canvas, foot);
  const side = element("div", { class: "side" });
  const status = new StatusLine();
  const bar = element("header", { class: "bar" }, mark(), status.root, tools);
  const root = element("div", { class: "page" }, bar, element("main", {}, viewer, side));
  return { root, canvas, viewer, foot, side, tools, undo, redo, status };
}

function tool(name: Icon, label: string, keys: string, act: () => void): HTMLButtonElement {
  return element(
    "button",
    { type: "button", class: "round", "aria-label": label, title: `${label} (${keys})`, onclick: act },
    icon(name),
  );
}

/** A face of two halves: the line of a photo, the body of a figure. */
function mark(): HTMLElement {
  const half = element("i", { class: "mark-face" });
  return element("a", { class: "mark", href: "./", "aria-label": t("likeness, start") }, half, "likeness");
}
