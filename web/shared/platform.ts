// Replacements for functions that a browser lacks on a page that is no secure context (plain HTTP on an address of a
// local network).

if (!crypto.randomUUID) {
  crypto.randomUUID = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  };
}

/** Call `work` while no other tab of this browser is in the lock `name`. Without the Web Locks API, call it at once. */
export function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  return navigator.locks ? navigator.locks.request(name, work) as Promise<T> : work();
}

/** A text that is stored in the browser, or null. In a browser that stores nothing it is null. */
export function readStored(name: string): string | null {
  try {
    return localStorage.getItem(`callout.${name}`);
  } catch {
    return null;
  }
}

/** Store a text in the browser; null deletes it. */
export function store(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(`callout.${name}`);
    else localStorage.setItem(`callout.${name}`, value);
  } catch {
    // Without storage the choice is valid until the page is closed.
  }
}
