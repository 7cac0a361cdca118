// The entry of /tech: users who are signed in see the app, all others see the sign-in page.

import "../shared/theme.css";
import { render } from "preact";
import { startApp } from "../shared/app.tsx";
import { App } from "./page.tsx";

render(startApp("tech", App), document.getElementById("app")!);
