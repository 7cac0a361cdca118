// The entry of /track/<token>: one job, for everybody who has the link.

import "../shared/theme.css";
import { render } from "preact";
import { App } from "./page.tsx";

render(<App />, document.getElementById("app")!);
