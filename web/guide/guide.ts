// The project's pages (/docs/pages and /docs/<name>): the server renders them, only the styles come from here.

import "../shared/theme.css";
import "./guide.css";
