import "@fontsource-variable/instrument-sans/wght.css";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/welcome.css";
import "./styles/editor.css";
import "./styles/compare.css";

import { loadLanguage } from "./language";

await loadLanguage();
const { App } = await import("./app");
void new App().begin();
