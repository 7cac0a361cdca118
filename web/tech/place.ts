// Where the technician is: from the phone, from a place that they chose on the map, or from a drive in a demo. While they
// are online it is sent as often as the server asks; without a connection it is kept and sent together afterwards.

import { signal } from "@preact/signals";
import type { PhoneApp } from "../phone/app.ts";
import { metresBetween } from "../phone/geo.ts";
import { serverNow } from "../shared/time.ts";

export interface Here {
  lat: number;
  lon: number;
  /** ms since 1970, by the server's clock. */
  at: number;
  accuracy?: number;
  heading?: number;
  speed?: number;
  source: "phone" | "chosen" | "drive";
}

const MAX_FIXES = 100;

export class OwnPlace {
  readonly here = signal<Here | null>(null);
  /** Why the phone gives no position: `denied`, or that the page is no secure context. "" while it does. */
  readonly problem = signal<"" | "denied" | "insecure" | "unknown">("");
  #watch: number | null = null;
  #sent: Here | null = null;
  #kept: Here[] = [];
  #timer: ReturnType<typeof setInterval> | undefined;
  #stopStatus: () => void;

  constructor(private readonly app: PhoneApp) {
    this.#stopStatus = app.live.status.subscribe((status) => status === "connected" && void this.#sendKept());
    this.#timer = setInterval(() => this.#repeat(), 5_000);
  }

  close(): void {
    this.stopWatch();
    clearInterval(this.#timer);
    this.#stopStatus();
  }

  /** Ask the phone for its position, once. Returns null if it gives none. */
  find(): Promise<Here | null> {
    if (!navigator.geolocation || !isSecureContext) {
      this.problem.value = "insecure";
      return Promise.resolve(null);
    }
    const options = { enableHighAccuracy: true, timeout: 10_000, maximumAge: 30_000 };
    return new Promise((done) =>
      navigator.geolocation.getCurrentPosition(
        (found) => done(this.#take(found)),
        (error) => {
          this.problem.value = error.code === error.PERMISSION_DENIED ? "denied" : "unknown";
          done(null);
        },
        options,
      )
    );
  }

  /** Follow the phone. */
  startWatch(): void {
    if (this.#watch !== null || !navigator.geolocation || !isSecureContext) return;
    this.#watch = navigator.geolocation.watchPosition(
      (found) => this.here.peek()?.source !== "drive" && this.#take(found),
      () => {},
      { enableHighAccuracy: true, maximumAge: 5_000 },
    );
  }

  stopWatch(): void {
    if (this.#watch !== null) navigator.geolocation.clearWatch(this.#watch);
    this.#watch = null;
  }

  /** Set the position to a place that was chosen on the map or reached in a drive. */
  put(lat: number, lon: number, source: "chosen" | "drive", heading?: number, speed?: number): void {
    this.#note({ lat, lon, at: serverNow(), accuracy: 10, heading, speed, source });
  }

  #take({ coords }: GeolocationPosition): Here {
    const { latitude: lat, longitude: lon, accuracy, heading, speed } = coords;
    this.problem.value = "";
    const here: Here = {
      lat,
      lon,
      at: serverNow(),
      accuracy,
      heading: heading ?? undefined,
      speed: speed ?? undefined,
      source: "phone",
    };
    this.#note(here);
    return here;
  }

  #note(here: Here): void {
    this.here.value = here;
    if (!this.app.technician.peek()?.online) return;
    const { every_s, distance_m } = this.app.fixRate.peek();
    const before = this.#sent;
    const isDue = !before || here.at - before.at >= every_s * 1000 - 500 ||
      metresBetween([before.lat, before.lon], [here.lat, here.lon]) >= distance_m;
    if (isDue) this.#send(here);
  }

  /** A phone that lies still reports nothing, but the server wants to know that it is still there. */
  #repeat(): void {
    const here = this.here.peek();
    if (!here || !this.app.technician.peek()?.online) return;
    const late = this.app.fixRate.peek().every_s * 1000;
    if (!this.#sent || serverNow() - this.#sent.at >= late) this.#send({ ...here, at: serverNow() });
  }

  #send(here: Here): void {
    this.#sent = here;
    if (this.app.live.status.peek() === "connected" && this.app.live.transport.peek() === "socket") {
      this.app.live.callout.send("location", fixOf(here));
    } else this.#kept = [...this.#kept.slice(1 - MAX_FIXES), here];
  }

  async #sendKept(): Promise<void> {
    const fixes = this.#kept;
    if (!fixes.length) return;
    this.#kept = [];
    const params = { id: this.app.me.id };
    await this.app.api.call("PUT /v1/technicians/{id}/location", { params, body: { fixes: fixes.map(fixOf) } })
      .catch(() => {});
  }
}

const fixOf = ({ lat, lon, at, accuracy, heading, speed }: Here) => ({
  lat,
  lon,
  at: new Date(at).toISOString(),
  ...(accuracy !== undefined && { accuracy }),
  ...(heading !== undefined && { heading }),
  ...(speed !== undefined && { speed }),
});
