// The checks of the audit tree (RFC 9162, 2.1.3 and 2.1.4) and of its signed heads (C2SP signed notes), in the browser: the browser does not rely on what the server says.

type Bytes = Uint8Array<ArrayBuffer>;

const NODE = new Uint8Array([1]);

export function bytesOfHex(hex: string): Bytes {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export function bytesOfBase64(text: string): Bytes {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

export function hexOf(bytes: Bytes): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function sha256(...parts: Bytes[]): Promise<Bytes> {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) whole.set(part, at), at += part.length;
  return new Uint8Array(await crypto.subtle.digest("SHA-256", whole));
}

function parent(left: Bytes, right: Bytes): Promise<Bytes> {
  return sha256(NODE, left, right);
}

/** Return the root that an inclusion proof leads to (RFC 9162, 2.1.3.2), or null if the proof has a wrong length. */
export async function rootOfInclusion(
  leaf: string,
  index: number,
  size: number,
  hashes: string[],
): Promise<string | null> {
  let [fn, sn, node] = [index, size - 1, bytesOfHex(leaf)];
  if (index >= size) return null;
  for (const each of hashes.map(bytesOfHex)) {
    if (sn === 0) return null;
    if (fn % 2 === 1 || fn === sn) {
      node = await parent(each, node);
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
    } else node = await parent(node, each);
    [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
  }
  return sn === 0 ? hexOf(node) : null;
}

/** Return whether a tree of `newSize` leaves with `newRoot` begins with the tree of `oldSize` leaves with `oldRoot` (RFC
 * 9162, 2.1.4.2). */
export async function isConsistent(
  oldSize: number,
  oldRoot: string,
  newSize: number,
  newRoot: string,
  hashes: string[],
): Promise<boolean> {
  if (oldSize === newSize) return oldRoot === newRoot;
  const path = hashes.map(bytesOfHex);
  if (Number.isInteger(Math.log2(oldSize))) path.unshift(bytesOfHex(oldRoot));
  let [fn, sn] = [oldSize - 1, newSize - 1];
  while (fn % 2 === 1) [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
  let [old, now] = [path[0], path[0]];
  if (!old) return false;
  for (const each of path.slice(1)) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      [old, now] = [await parent(each, old), await parent(each, now)];
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
    } else now = await parent(now, each);
    [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
  }
  return sn === 0 && hexOf(old) === oldRoot && hexOf(now) === newRoot;
}

/** Return the public key that signed a note, or null: none of `keys` (base64, Ed25519) did. */
export async function signerOf(note: string, keys: { id: string; public: string }[]): Promise<string | null> {
  const end = note.indexOf("\n\n");
  const body = new TextEncoder().encode(note.slice(0, end + 1));
  const lines = note.slice(end + 2).split("\n").filter((line) => line.startsWith("— "));
  for (const line of lines) {
    const signature = bytesOfBase64(line.split(" ")[2]).slice(4);
    for (const key of keys) {
      const ed25519 = await crypto.subtle.importKey("raw", bytesOfBase64(key.public), "Ed25519", false, ["verify"]);
      if (await crypto.subtle.verify("Ed25519", ed25519, signature, body)) return key.id;
    }
  }
  return null;
}
