import { serveOffline } from "../phone/worker.ts";

serveOffline("/book");
