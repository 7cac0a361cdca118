// The entry of /book: who is signed in sees the app, everybody else the sign-in.

import "../shared/theme.css";
import { render } from "preact";
import { startApp } from "../shared/app.tsx";
import { App } from "./page.tsx";

render(startApp("book", App), document.getElementById("app")!);
