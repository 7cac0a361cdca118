// The start page: who are you?

import "../shared/theme.css";
import { render } from "preact";
import { App } from "./page.tsx";

render(<App />, document.getElementById("app")!);
