// Check the audit of a zone: is the head of the audit tree signed by a key of the server, is the tree that this browser
// saw before a part of the present tree, and are the latest events leaves of it?

import { readStored, store } from "../../shared/platform.ts";
import type { AuditHead } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { isConsistent, rootOfInclusion, signerOf } from "./merkle.ts";

export type CheckName = "signature" | "grown" | "events";
export interface Check {
  name: CheckName;
  result: "ok" | "failed" | "first" | "none";
  detail: string | number;
}

export interface Verdict {
  head: AuditHead;
  checks: Check[];
}

interface Seen {
  tree: number;
  size: number;
  root: string;
}

const EVENTS = 10;

/** Run all checks. Rejects with a CalloutError if the server does not answer. */
export async function verifyAudit(console: Console): Promise<Verdict> {
  const zone = console.zone;
  const [{ head }, { items: keys }] = await Promise.all([
    console.api.call("GET /v1/audit/{zone}/head", { params: { zone } }),
    console.api.call("GET /v1/vault/keys"),
  ]);
  const signer = await signerOf(head.note, keys.filter(({ alg, revoked }) => /ed25519/i.test(alg) && !revoked));
  const checks: Check[] = [{ name: "signature", result: signer ? "ok" : "failed", detail: signer ?? "" }];
  checks.push(await checkGrowth(console, head), await checkEvents(console, head));
  if (checks.every(({ result }) => result !== "failed")) {
    store(`audit.${zone}`, JSON.stringify({ tree: head.tree, size: head.size, root: head.root }));
  }
  return { head, checks };
}

async function checkGrowth(console: Console, head: AuditHead): Promise<Check> {
  const seen = JSON.parse(readStored(`audit.${console.zone}`) ?? "null") as Seen | null;
  if (!seen || seen.tree !== head.tree) return { name: "grown", result: "first", detail: 0 };
  if (seen.size === head.size) {
    return { name: "grown", result: seen.root === head.root ? "ok" : "failed", detail: seen.size };
  }
  if (seen.size > head.size) return { name: "grown", result: "failed", detail: seen.size };
  const query = { from: seen.size, to: head.size, tree: head.tree };
  const { consistency } = await console.api.call("GET /v1/audit/{zone}/consistency", {
    params: { zone: console.zone },
    query,
  });
  const ok = await isConsistent(seen.size, seen.root, head.size, head.root, consistency.hashes);
  return { name: "grown", result: ok ? "ok" : "failed", detail: seen.size };
}

/** Check that the last events that the head covers are leaves of the tree. */
async function checkEvents(console: Console, head: AuditHead): Promise<Check> {
  const last = head.first_seq + head.size - 1;
  const seqs = Array.from({ length: Math.min(EVENTS, head.size) }, (_, i) => last - i);
  const found = await Promise.all(seqs.map((seq) => isIncluded(console, seq)));
  const result = !seqs.length ? "none" : found.every(Boolean) ? "ok" : "failed";
  return { name: "events", result, detail: seqs.length };
}

async function isIncluded(console: Console, seq: number): Promise<boolean> {
  const params = { zone: console.zone, seq: String(seq) };
  const { proof, head } = await console.api.call("GET /v1/audit/{zone}/{seq}/proof", { params });
  return (await rootOfInclusion(proof.leaf, proof.index, head.size, proof.hashes)) === head.root;
}
