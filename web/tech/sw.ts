import { showPushes } from "../phone/push_worker.ts";
import { serveOffline } from "../phone/worker.ts";

serveOffline("/tech");
showPushes("/tech");
