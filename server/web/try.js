// The page to try Callout on. It does nothing that an app could not do: the client of callout.js, and HTTP.

import { Callout, CalloutError } from "./callout.js";
import { Frames, element } from "./try-frames.js";

const OPS = {
  claim: { job: "" },
  decline: { job: "", reason: "Too far" },
  command: { job: "", command: "depart" },
  availability: { online: true, lat: 40.75, lon: -73.99 },
  location: { lat: 40.75, lon: -73.99 },
  subscribe: { channel: "zone:main" },
  unsubscribe: { channel: "zone:main" },
  ping: {},
};
/** What is done with an offer: beside the offer, not beside the job. */
const OFFERED = ["claim", "decline"];
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const NEEDS = { cancel: { reason: "Changed my mind" }, decline: { reason: "Too far" } };

/** @param {string} selector @param {ParentNode} [room] @returns {any} */
const $ = (selector, room = document) => room.querySelector(selector);
const frames = new Frames($("#frames"));
/** Jobs and open offers that this page knows of, by the job's id. @type {Map<string, any>} */
let jobs = new Map(), offers = new Map();
/** @type {{ user: any, access_token: string, refresh_token?: string } | null} */
let account = JSON.parse(sessionStorage.getItem("callout") ?? "null");
/** @type {Callout} */ let callout;
/** @type {Promise<any> | null} */ let refreshing = null;

// who

function keep(signed) {
  account = signed;
  if (signed) sessionStorage.setItem("callout", JSON.stringify(signed));
  else sessionStorage.removeItem("callout");
}

/** The token at hand, or a fresh one; all who ask for a fresh one at once share one refresh. */
async function token(fresh) {
  if (fresh && account?.refresh_token) {
    refreshing ??= post("/v1/auth/refresh", { refresh_token: account.refresh_token }).then(keep);
    await refreshing.finally(() => (refreshing = null));
  }
  if (!account) throw new Error("Signed out");
  return account.access_token;
}

/** What is asked before there is anybody to ask in the name of. */
async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const told = await answer.json().catch(() => null);
  frames.add("→", `POST ${path}`, told, { kind: answer.ok ? "note" : "note fault", more: `${answer.status}` });
  if (!answer.ok) throw new CalloutError(told);
  return told;
}

/** One step over HTTP, shown among the frames. */
async function step(method, path, body) {
  try {
    const told = await callout.http(method, path, body);
    frames.add("→", `${method} ${path}`, told, { kind: "note", more: "done" });
    return told;
  } catch (error) {
    frames.add("→", `${method} ${path}`, error.problem ?? String(error), { kind: "note fault", more: error.code });
    throw error;
  }
}

/** Let a form do `work` with its fields; a refusal is shown under it. */
function onsubmit(form, work) {
  const fault = element("p", { className: "fault wide", role: "alert", hidden: true });
  form.append(fault);
  form.onsubmit = async (event) => {
    event.preventDefault();
    const [button, fields] = [event.submitter ?? $("button", form), Object.fromEntries(new FormData(form))];
    button.disabled = fault.hidden = true;
    try {
      await work(fields, button.value);
    } catch (error) {
      const wrong = (error.problem?.errors ?? []).map(({ pointer, detail }) => `${pointer}: ${detail}`);
      Object.assign(fault, { hidden: false, textContent: [error.message, ...wrong].join(" · ") });
    }
    button.disabled = false;
  };
}

/** A button that does `work`; what is refused stands among the frames. */
function button(label, work, className = "") {
  const made = element("button", { type: "button", className }, label);
  made.onclick = async () => {
    made.disabled = true;
    await work().catch(() => {});
    made.disabled = false;
  };
  return made;
}

async function enter(signed) {
  keep(signed);
  const [made, role] = [new Callout({ token, app: { name: "try", version: "1" } }), signed.user.role];
  callout = made;
  jobs = new Map();
  offers = new Map();
  for (const [name, heard] of Object.entries({ status, event, sync, frame })) {
    made.addEventListener(name, ({ detail }) => made === callout && heard(detail));
  }
  const office = ["admin", "ops_manager", "onboarding_manager"].includes(role);
  const shown = { "#gate": false, "#who": true, "#jobs": true, "#ask": true };
  Object.assign(shown, { "#book": role === "customer", "#work": role === "technician", "#office": office });
  for (const [card, show] of Object.entries(shown)) $(card).hidden = !show;
  $("[data-name]").textContent = signed.user.name;
  $("[data-role]").textContent = role;
  $("[data-id]").textContent = signed.user.id;
  draw();
  made.open();
  if (role === "customer" || role === "technician") await services(role);
  if (office) await technicians();
}

function leave() {
  if (account?.refresh_token) post("/v1/auth/logout", { refresh_token: account.refresh_token }).catch(() => {});
  callout?.close();
  keep(null);
  for (const card of document.querySelectorAll(".column > .card")) card.hidden = card.id !== "gate";
}

for (const tab of document.querySelectorAll("[data-tab]")) {
  tab.onclick = () => {
    for (const other of document.querySelectorAll("[data-tab]")) other.ariaSelected = String(other === tab);
    for (const panel of document.querySelectorAll("[data-panel]")) panel.hidden = panel.id !== tab.dataset.tab;
  };
}
onsubmit($("#register"), async (fields) => enter(await post("/v1/auth/register", fields)));
onsubmit($("#login"), async (fields) => enter(await post("/v1/auth/login", fields)));
onsubmit($("#token"), async (fields) => {
  const access_token = fields.token.trim();
  const answer = await fetch("/v1/me", { headers: { Authorization: `Bearer ${access_token}` } });
  const told = await answer.json();
  if (!answer.ok) throw new CalloutError(told);
  await enter({ access_token, user: told.user });
});
$("#leave").onclick = leave;
$("#cut").onclick = () => callout.cut();
$("#stop").onclick = () => (callout.status === "offline" ? callout.open() : callout.close());
$("#snapshot").onclick = () => step("GET", "/v1/sync").catch(() => {});

// what the client tells

function status({ status, transport, code, reason }) {
  const shown = $("#status");
  shown.dataset.status = status;
  shown.textContent = transport ? `${status} by ${transport}` : status;
  $("#stop").textContent = status === "offline" ? "Connect" : "Disconnect";
  frames.add("·", shown.textContent, { status, transport, code, reason }, { kind: "note", more: reason || "" });
  draw();
}

function frame({ out, frame }) {
  const beat = !frame.id && !frame.op && !frame.type && !frame.error && frame.id !== 0;
  const kind = `${out ? "out" : "in"}${frame.error ? " fault" : ""}`;
  const name = frame.op ?? frame.type ?? frame.error?.code ?? ("ok" in frame ? "ok" : "epoch" in frame ? "head" : "ping");
  const more = [frame.event !== frame.type && frame.event, frame.seq !== undefined && `#${frame.seq}`];
  frames.add(out ? "→" : "←", name, frame, { kind, beat, more: more.filter(Boolean).join(" ") });
  drawCursors();
}

function event({ type, data }) {
  if (type === "offer.created" || type === "offer.updated") offers.set(data.offer.job.id, data.offer);
  if (type === "offer.closed") offers.delete(data.job.id);
  if (data?.job?.version) learn(data.job);
  if (type.startsWith("technician.") && !$("#office").hidden) technicians().catch(() => {});
  draw();
}

function sync({ snapshot, error, reasons }) {
  const more = Object.values(reasons).filter(Boolean).join(" ");
  frames.add("·", "sync", snapshot ?? error?.problem, { kind: "note", more });
  // Only what a snapshot holds replaces what is known: one that was refused says nothing.
  if (snapshot) [jobs, offers] = [new Map(), new Map()];
  for (const job of list(snapshot?.jobs)) learn(job);
  for (const offer of list(snapshot?.offers)) offers.set(offer.job.id, offer);
  draw();
}

const list = (given) => (Array.isArray(given) ? given : (given?.items ?? []));

/** A job is newer only if its version is higher; what may be done now is asked, since events do not say. */
function learn(job) {
  const known = jobs.get(job.id);
  if (known && known.version >= job.version && (known.actions || !job.actions)) return;
  jobs.set(job.id, job);
  if (job.actions) return draw();
  callout.http("GET", `/v1/jobs/${job.id}`).then(({ job }) => learn(job), () => {});
}

// what can be done

async function services(role) {
  const { items } = await callout.http("GET", "/v1/services?limit=200");
  const none = "None yet. With an admin's token, this page makes one.";
  if (role === "customer") {
    const options = items.map(({ id, name, base_amount: amount, currency }) =>
      element("option", { value: id }, `${name} · ${price({ amount, currency })}`));
    $("#book select").replaceChildren(...(options.length ? options : [element("option", { value: "" }, none)]));
    return;
  }
  const { technician } = await callout.http("GET", `/v1/technicians/${account?.user.id}`);
  const boxes = items.map(({ id, name }) => {
    const checked = technician.services.includes(id);
    const box = element("input", { type: "checkbox", name: "services", value: id, checked });
    return element("label", { className: "check" }, box, name);
  });
  $("[data-services]").replaceChildren(...(boxes.length ? boxes : [element("p", { className: "hint" }, none)]));
}

// Somebody may have made one meanwhile, in another window.
addEventListener("focus", () => {
  const role = account?.user.role;
  const none = role === "customer" ? !$("#book select").value : role === "technician" && !$("[name=services]");
  if (none) services(role).catch(() => {});
});

onsubmit($("#book form"), async ({ lat, lon, notes, ...rest }) => {
  const booking = { ...rest, lat: Number(lat), lon: Number(lon), notes: notes || undefined };
  const { job } = await step("POST", "/v1/jobs", booking);
  learn(job);
});
onsubmit($("#profile"), () => {
  const chosen = [...document.querySelectorAll("[name=services]:checked")].map(({ value }) => value);
  return step("PATCH", `/v1/technicians/${account?.user.id}`, { services: chosen });
});
onsubmit($("#availability"), async ({ lat, lon }, way) => {
  const where = way === "on" ? { lat: Number(lat), lon: Number(lon) } : {};
  const { receiving, blockers } = await callout.request("availability", { online: way === "on", ...where });
  const told = receiving ? "Online: jobs near by are offered to you." : `No jobs now: ${blockers.join(", ")}.`;
  Object.assign($("[data-told]"), { hidden: false, textContent: told });
});
onsubmit($("#service"), ({ base_amount, ...rest }) =>
  step("POST", "/v1/services", { ...rest, base_amount: Number(base_amount), currency: "USD", pricing: "flat" }));
$("#look").onclick = () => technicians();

async function technicians() {
  const { items } = await callout.http("GET", "/v1/technicians?limit=50");
  const lines = items.map(({ id, name, kyc, account: state, online }) => {
    const good = kyc === "approved" && state === "approved";
    const chips = [online ? "online" : "offline", good ? "approved" : `KYC ${kyc}, account ${state}`];
    const review = { kyc: "approved", account: "approved" };
    const approve = () => step("POST", `/v1/technicians/${id}/review`, review).then(technicians);
    return thing(name, chips, id, good ? [] : [button("Approve", approve, "main")]);
  });
  $("#technicians").replaceChildren(...lines);
}

function act(job, command) {
  const args = { job: job.id, ...NEEDS[command] };
  const offered = OFFERED.includes(command);
  const asked = offered ? callout.request(command, args) : callout.request("command", { command, ...args });
  return asked.then((ok) => {
    if (offered) offers.delete(job.id);
    if (ok.job) learn(ok.job);
    draw();
  });
}

function thing(title, chips, id, buttons) {
  const words = chips.filter(Boolean).map((chip) => element("span", { className: "chip" }, chip));
  const head = element("div", { className: "row" }, element("strong", {}, title), ...words);
  const line = element("li", {}, head, element("code", {}, id));
  if (buttons.length) line.append(element("div", { className: "row" }, ...buttons));
  return line;
}

const price = ({ amount, currency }) => (amount === undefined || amount === null ? "" : `${amount / 100} ${currency}`);

function draw() {
  const open = [...offers.values()].map(({ job, distance_m }) => {
    const chips = [price(job), distance_m !== undefined && `${distance_m} m`];
    const buttons = [button("Claim", () => act(job, "claim"), "main"), button("Decline", () => act(job, "decline"))];
    return thing("Offer", chips, job.id, buttons);
  });
  $("#offers").replaceChildren(...open);
  const all = [...jobs.values()].reverse().slice(0, 20).map((job) => {
    const steps = (job.actions ?? []).map((action) => action.command ?? action).filter((name) => !OFFERED.includes(name));
    const buttons = steps.map((name) => button(name, () => act(job, name)));
    return thing(job.address ?? "Job", [job.status, price(job)], job.id, buttons);
  });
  $("#jobs ul").replaceChildren(...all);
  drawCursors();
}

function drawCursors() {
  const places = Object.entries(callout.cursors.toJSON()).map(([zone, { epoch, seq }]) => [zone, `${epoch} #${seq}`]);
  const rows = places.map(([zone, at]) => element("div", {}, element("dt", {}, zone), element("dd", {}, at)));
  $("#cursors").replaceChildren(...rows);
}

const by = $("#ask select");
const ways = [...Object.keys(OPS).map((op) => `socket: ${op}`), ...METHODS.map((method) => `HTTP: ${method}`)];
by.append(...ways.map((way) => element("option", {}, way)));
by.onchange = () => {
  const [way, what] = by.value.split(": ");
  $("#ask [data-path]").hidden = way === "socket";
  $("#ask [name=body]").value = way === "socket" ? JSON.stringify(OPS[what], null, 2) : what === "GET" ? "" : "{}";
};
by.onchange();
onsubmit($("#ask form"), async ({ by, path, body }) => {
  const [way, what] = by.split(": ");
  const given = body.trim() ? JSON.parse(body) : undefined;
  await (way === "socket" ? callout.request(what, given) : step(what, path, given));
});

if (account) enter(account).catch(() => {});
