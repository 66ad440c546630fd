import "@fontsource-variable/instrument-sans/wght.css";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/welcome.css";
import "./styles/editor.css";
import "./styles/compare.css";

import { App } from "./app";

void new App().begin();
