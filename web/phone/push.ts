// Web Push of one app: whether this browser is notified while the page is closed (docs/push.md). The subscription is the
// browser's; the server knows it as a device. Who turned it on is stored, so that nobody else gets their pushes.

import { signal } from "@preact/signals";
import { loadMeta } from "../shared/meta.ts";
import { readStored, store } from "../shared/platform.ts";
import { go } from "../shared/router.ts";
import type { Live } from "../shared/live.ts";

/** `none`: the server or the browser has no Web Push; `blocked`: the user has forbidden it in the browser. */
export type PushState = "none" | "blocked" | "off" | "on";

const PLATFORM = "webpush";
/** How long a sign-out waits until the server has removed the device. The subscription ends in any case. */
const SIGN_OUT_PATIENCE_S = 3;

export class BrowserPush {
  readonly state = signal<PushState>("none");
  readonly #app: string;
  readonly #owner: string;
  #key = "";

  constructor(private readonly live: Live) {
    this.#app = live.session.app;
    this.#owner = `push.${this.#app}`;
  }

  /** Find the state. A subscription of this user is sent again, so that the server has the present one; a subscription of
   * somebody else ends. */
  async start(): Promise<void> {
    this.live.session.beforeSignOut = () => this.#end(SIGN_OUT_PATIENCE_S);
    if (!("serviceWorker" in navigator) || !("PushManager" in globalThis) || !("Notification" in globalThis)) return;
    this.#key = (await loadMeta()).web_push_key ?? "";
    if (!this.#key) return;
    navigator.serviceWorker.addEventListener("message", this.#onMessage);
    const owner = readStored(this.#owner);
    if (owner && owner !== this.#me) await this.#unsubscribe();
    else if (owner && Notification.permission === "granted") return await this.#register().catch(this.#show);
    this.#show();
  }

  close(): void {
    this.live.session.beforeSignOut = null;
    if ("serviceWorker" in navigator) navigator.serviceWorker.removeEventListener("message", this.#onMessage);
  }

  /** Ask the user for the permission, and register this browser. Rejects with a CalloutError of the server, or with an
   * error of the browser. */
  async turnOn(): Promise<void> {
    if (await Notification.requestPermission() === "granted") await this.#register();
    this.#show();
  }

  async turnOff(): Promise<void> {
    await this.#end();
    this.#show();
  }

  get #me(): string {
    return this.live.session.user.value?.id ?? "";
  }

  async #register(): Promise<void> {
    const { pushManager } = await navigator.serviceWorker.ready;
    let subscription = await pushManager.getSubscription();
    if (subscription && !sameKey(subscription, this.#key)) {
      await subscription.unsubscribe();
      subscription = null;
    }
    subscription ??= await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: this.#key });
    const body = { platform: PLATFORM, token: JSON.stringify(subscription.toJSON()) };
    await this.live.api.call("PUT /v1/devices/{id}", { params: { id: this.#device() }, body });
    store(this.#owner, this.#me);
    this.#show();
  }

  async #end(patience?: number): Promise<void> {
    if (!readStored(this.#owner)) return;
    const params = { id: this.#device() };
    await this.live.api.call("DELETE /v1/devices/{id}", { params, patience }).catch(() => {});
    await this.#unsubscribe();
  }

  async #unsubscribe(): Promise<void> {
    store(this.#owner, null);
    const registration = await navigator.serviceWorker.getRegistration(`/${this.#app}`);
    await (await registration?.pushManager.getSubscription())?.unsubscribe();
  }

  /** The id of this browser as a device, the same as long as the browser stores it. */
  #device(): string {
    const id = readStored(`device.${this.#app}`) ?? `${this.#app}-${crypto.randomUUID()}`;
    store(`device.${this.#app}`, id);
    return id;
  }

  #show = (): void => {
    const isOn = readStored(this.#owner) === this.#me && Notification.permission === "granted";
    this.state.value = Notification.permission === "denied" ? "blocked" : isOn ? "on" : "off";
  };

  /** The user has tapped a notification. */
  #onMessage = ({ data }: MessageEvent): void => {
    if (typeof data?.open === "string" && data.open.startsWith(`/${this.#app}`)) go(data.open);
  };
}

/** Return whether a subscription was made with the server's present key. */
function sameKey(subscription: PushSubscription, key: string): boolean {
  const used = subscription.options?.applicationServerKey;
  if (!used) return true;
  const text = btoa(String.fromCharCode(...new Uint8Array(used)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "") === key;
}
