// The start page: the visitor chooses an app, by their role.

import "../shared/theme.css";
import { render } from "preact";
import { App } from "./page.tsx";

render(<App />, document.getElementById("app")!);
