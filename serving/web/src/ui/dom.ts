/** Elements in one expression. */

type Value = string | number | boolean | null | undefined | ((event: never) => void);
type Child = Node | string | null;

/**
 * An element with attributes and children. `onclick` and the like are listeners; true is an attribute without a value;
 * null, undefined and false are none.
 */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, String(value));
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Put this into a dialog before the page; the value of the button that closed it, "" where none did. */
export function asked(form: HTMLElement): Promise<string> {
  const dialog = element("dialog", { class: "sheet" }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}

/** Hand a file to the person. */
export function save(file: Blob, name: string): void {
  const url = URL.createObjectURL(file);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 30_000);
}

const SVG = "http://www.w3.org/2000/svg";

// On a grid of 20, drawn with one line.
const ICONS = {
  undo: "M7 5 3.5 8.5 7 12M4 8.5h7.5a4 4 0 0 1 0 8H8",
  redo: "m13 5 3.5 3.5L13 12m3-3.5H8.5a4 4 0 0 0 0 8H12",
  reset: "M4.5 10a5.5 5.5 0 1 0 1.8-4.1M4.5 3.5v3.2h3.2",
  camera: "M3 6.5h3l1.4-2h5.2l1.4 2h3v9H3zM10 8.2a2.6 2.6 0 1 1 0 5.2 2.6 2.6 0 0 1 0-5.2z",
  photo: "M3 4.5h14v11H3zM3 13l4-4 4 4m-1.5-1.5L12 9l5 5M13.2 7.2h.01",
  download: "M10 3.5v9m-3.5-3.3L10 12.7l3.5-3.5M4 16.5h12",
  close: "m5 5 10 10M15 5 5 15",
  search: "M8.8 4a4.8 4.8 0 1 1 0 9.6 4.8 4.8 0 0 1 0-9.6zm3.6 8.4L16.5 16.5",
  down: "m6 8 4 4 4-4",
  plus: "M10 4.5v11M4.5 10h11",
  share: "M10 12V3.5M6.8 6.2 10 3l3.2 3.2M6 9H4.5v7.5h11V9H14",
} as const;

export type Icon = keyof typeof ICONS;

export function icon(name: Icon): SVGSVGElement {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 20 20");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  drawing.append(path);
  return drawing;
}

let numbered = 0;

/** An id that no other element has. */
export function freshId(word: string): string {
  numbered += 1;
  return `${word}-${numbered}`;
}
