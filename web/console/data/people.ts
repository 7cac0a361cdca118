// The technicians with their profiles, and the names of services.

import { signal } from "@preact/signals";
import type { Api } from "../../shared/api.ts";
import type { Push } from "../../shared/live.ts";
import type { Service, Technician } from "../../shared/schema.ts";

const MAX_TECHNICIANS = 2000;

export class People {
  readonly technicians = signal<Map<string, Technician>>(new Map());
  readonly services = signal<Map<string, Service>>(new Map());

  constructor(private readonly api: Api) {}

  /** Read all technicians and services. Rejects with a CalloutError. */
  async load(): Promise<void> {
    const [technicians, services] = await Promise.all([
      this.api.list("GET /v1/technicians", { limit: MAX_TECHNICIANS }),
      this.api.list("GET /v1/services"),
    ]);
    this.technicians.value = new Map(technicians.map((each) => [each.id, each]));
    this.services.value = new Map(services.map((each) => [each.id, each]));
  }

  /** Read one technician again. Rejects with a CalloutError. */
  async read(id: string): Promise<Technician> {
    const { technician } = await this.api.call("GET /v1/technicians/{id}", { params: { id } });
    this.put(technician);
    return technician;
  }

  put(technician: Technician): void {
    this.technicians.value = new Map(this.technicians.value).set(technician.id, technician);
  }

  apply(pushes: Push[]): void {
    let next: Map<string, Technician> | null = null;
    for (const { type, data } of pushes) {
      const known = data?.technician && this.technicians.value.get(data.technician.id);
      if (!known) continue;
      const change = type === "technician.status"
        ? { online: data.online }
        : type === "technician.reviewed"
        ? { kyc: data.kyc, account: data.account }
        : null;
      if (change) (next ??= new Map(this.technicians.value)).set(known.id, { ...known, ...change });
    }
    if (next) this.technicians.value = next;
  }

  name(id: string): string {
    return this.technicians.value.get(id)?.name ?? id;
  }

  serviceName(id: string): string {
    return this.services.value.get(id)?.name ?? id;
  }
}
