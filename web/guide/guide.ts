// The project's pages (/docs/pages and /docs/<name>): the server renders them. Only their styles are in this file.

import "../shared/theme.css";
import "./guide.css";
