import { serveOffline } from "../phone/worker.ts";

serveOffline("/tech");
