/** A code that a phone's camera reads. Loaded when it is wanted. */

import { encode } from "uqr";

const SVG = "http://www.w3.org/2000/svg";

/** Dark squares as one path, with the quiet zone of four modules that readers need. */
export function qr(text: string): SVGSVGElement {
  const { data, size } = encode(text, { ecc: "M", border: 4 });
  const squares = data.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : [])));
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", `0 0 ${size} ${size}`);
  drawing.setAttribute("class", "qr");
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", "QR code of the link");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", squares.join(""));
  drawing.append(path);
  return drawing;
}
