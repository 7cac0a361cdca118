// The page to try Callout on. Like an app, it uses only the client of callout.js and HTTP.

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
/** The commands that are shown beside an offer, not beside a job. */
const OFFER_COMMANDS = ["claim", "decline"];
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const EXAMPLE_ARGUMENTS = { cancel: { reason: "Changed my mind" }, decline: { reason: "Too far" } };

/** @param {string} selector @param {ParentNode} [room] @returns {any} */
const $ = (selector, room = document) => room.querySelector(selector);
const frames = new Frames($("#frames"));
/** Jobs and open offers that this page knows of, by the job's id. @type {Map<string, any>} */
let jobs = new Map(), offers = new Map();
/** @type {{ user: any, access_token: string, refresh_token?: string } | null} */
let account = JSON.parse(sessionStorage.getItem("callout") ?? "null");
/** @type {Callout} */ let callout;
/** @type {Promise<any> | null} */ let refreshing = null;

// the account

/** Store the signed-in account for this tab; null: delete the stored account. */
function storeAccount(signed) {
  account = signed;
  if (signed) sessionStorage.setItem("callout", JSON.stringify(signed));
  else sessionStorage.removeItem("callout");
}

/** Return the access token; `fresh`: a new one. Simultaneous calls for a new token share one refresh. */
async function accessToken(fresh) {
  if (fresh && account?.refresh_token) {
    refreshing ??= postWithoutToken("/v1/auth/refresh", { refresh_token: account.refresh_token }).then(storeAccount);
    await refreshing.finally(() => (refreshing = null));
  }
  if (!account) throw new Error("Signed out");
  return account.access_token;
}

/** Send a POST request without a token, and show the request among the frames. */
async function postWithoutToken(path, body) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const reply = await answer.json().catch(() => null);
  frames.add("→", `POST ${path}`, reply, { kind: answer.ok ? "note" : "note fault", more: `${answer.status}` });
  if (!answer.ok) throw new CalloutError(reply);
  return reply;
}

/** Send one request with the token of the account, and show the request among the frames. */
async function sendHttp(method, path, body) {
  try {
    const reply = await callout.http(method, path, body);
    frames.add("→", `${method} ${path}`, reply, { kind: "note", more: "done" });
    return reply;
  } catch (error) {
    frames.add("→", `${method} ${path}`, error.problem ?? String(error), { kind: "note fault", more: error.code });
    throw error;
  }
}

/** Call `work` with the fields of `form` when it is submitted. A refusal is shown below the form. */
function handleSubmit(form, work) {
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

/** Return a button that calls `work`. A refusal is shown among the frames only. */
function makeButton(label, work, className = "") {
  const made = element("button", { type: "button", className }, label);
  made.onclick = async () => {
    made.disabled = true;
    await work().catch(() => {});
    made.disabled = false;
  };
  return made;
}

/** Show the cards of the account's role, and connect as this account. */
async function startSession(signed) {
  storeAccount(signed);
  const [made, role] = [new Callout({ token: accessToken, app: { name: "try", version: "1" } }), signed.user.role];
  callout = made;
  jobs = new Map();
  offers = new Map();
  const handlers = { status: showStatus, event: applyEvent, sync: applySnapshot, frame: showFrame };
  for (const [name, handler] of Object.entries(handlers)) {
    made.addEventListener(name, ({ detail }) => made === callout && handler(detail));
  }
  const office = ["admin", "ops_manager", "onboarding_manager"].includes(role);
  const shown = { "#gate": false, "#who": true, "#jobs": true, "#ask": true };
  Object.assign(shown, { "#book": role === "customer", "#work": role === "technician", "#office": office });
  for (const [card, show] of Object.entries(shown)) $(card).hidden = !show;
  $("[data-name]").textContent = signed.user.name;
  $("[data-role]").textContent = role;
  $("[data-id]").textContent = signed.user.id;
  showLists();
  made.open();
  if (role === "customer" || role === "technician") await showServices(role);
  if (office) await showTechnicians();
}

/** Sign out, close the connection, and show the card to sign in. */
function signOut() {
  if (account?.refresh_token) postWithoutToken("/v1/auth/logout", { refresh_token: account.refresh_token }).catch(() => {});
  callout?.close();
  storeAccount(null);
  for (const card of document.querySelectorAll(".column > .card")) card.hidden = card.id !== "gate";
}

for (const tab of document.querySelectorAll("[data-tab]")) {
  tab.onclick = () => {
    for (const other of document.querySelectorAll("[data-tab]")) other.ariaSelected = String(other === tab);
    for (const panel of document.querySelectorAll("[data-panel]")) panel.hidden = panel.id !== tab.dataset.tab;
  };
}
handleSubmit($("#register"), async (fields) => startSession(await postWithoutToken("/v1/auth/register", fields)));
handleSubmit($("#login"), async (fields) => startSession(await postWithoutToken("/v1/auth/login", fields)));
handleSubmit($("#token"), async (fields) => {
  const access_token = fields.token.trim();
  const answer = await fetch("/v1/me", { headers: { Authorization: `Bearer ${access_token}` } });
  const reply = await answer.json();
  if (!answer.ok) throw new CalloutError(reply);
  await startSession({ access_token, user: reply.user });
});
$("#leave").onclick = signOut;
$("#cut").onclick = () => callout.cut();
$("#stop").onclick = () => (callout.status === "offline" ? callout.open() : callout.close());
$("#snapshot").onclick = () => sendHttp("GET", "/v1/sync").catch(() => {});

// the events of the client

/** Show the state of the connection. */
function showStatus({ status, transport, code, reason }) {
  const shown = $("#status");
  shown.dataset.status = status;
  shown.textContent = transport ? `${status} by ${transport}` : status;
  $("#stop").textContent = status === "offline" ? "Connect" : "Disconnect";
  frames.add("·", shown.textContent, { status, transport, code, reason }, { kind: "note", more: reason || "" });
  showLists();
}

/** Add a sent or received frame to the list of frames. */
function showFrame({ out, frame }) {
  const heartbeat = !frame.id && !frame.op && !frame.type && !frame.error && frame.id !== 0;
  const kind = `${out ? "out" : "in"}${frame.error ? " fault" : ""}`;
  const name = frame.op ?? frame.type ?? frame.error?.code ?? ("ok" in frame ? "ok" : "epoch" in frame ? "head" : "ping");
  const more = [frame.event !== frame.type && frame.event, frame.seq !== undefined && `#${frame.seq}`];
  frames.add(out ? "→" : "←", name, frame, { kind, heartbeat, more: more.filter(Boolean).join(" ") });
  showCursors();
}

/** Update the known offers and jobs from an event. */
function applyEvent({ type, data }) {
  if (type === "offer.created" || type === "offer.updated") offers.set(data.offer.job.id, data.offer);
  if (type === "offer.closed") offers.delete(data.job.id);
  if (data?.job?.version) storeJob(data.job);
  if (type.startsWith("technician.") && !$("#office").hidden) showTechnicians().catch(() => {});
  showLists();
}

/** Replace the known jobs and offers by those of a snapshot. A refused snapshot changes nothing. */
function applySnapshot({ snapshot, error, reasons }) {
  const more = Object.values(reasons).filter(Boolean).join(" ");
  frames.add("·", "sync", snapshot ?? error?.problem, { kind: "note", more });
  if (snapshot) [jobs, offers] = [new Map(), new Map()];
  for (const job of itemsOf(snapshot?.jobs)) storeJob(job);
  for (const offer of itemsOf(snapshot?.offers)) offers.set(offer.job.id, offer);
  showLists();
}

/** Return the items of a list or of a page; [] for nothing. */
const itemsOf = (given) => (Array.isArray(given) ? given : (given?.items ?? []));

/** Store a job if its version is newer. Events have no `actions`, so a job without them is read over HTTP. */
function storeJob(job) {
  const known = jobs.get(job.id);
  if (known && known.version >= job.version && (known.actions || !job.actions)) return;
  jobs.set(job.id, job);
  if (job.actions) return showLists();
  callout.http("GET", `/v1/jobs/${job.id}`).then(({ job }) => storeJob(job), () => {});
}

// the cards

/** Show the services that a customer may book, or those that a technician may choose. */
async function showServices(role) {
  const { items } = await callout.http("GET", "/v1/services?limit=200");
  const none = "None yet. With an admin's token, this page makes one.";
  if (role === "customer") {
    const options = items.map(({ id, name, base_amount: amount, currency }) =>
      element("option", { value: id }, `${name} · ${priceText({ amount, currency })}`));
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

// An admin may have created a service meanwhile, in another window.
addEventListener("focus", () => {
  const role = account?.user.role;
  const none = role === "customer" ? !$("#book select").value : role === "technician" && !$("[name=services]");
  if (none) showServices(role).catch(() => {});
});

handleSubmit($("#book form"), async ({ lat, lon, notes, ...rest }) => {
  const booking = { ...rest, lat: Number(lat), lon: Number(lon), notes: notes || undefined };
  const { job } = await sendHttp("POST", "/v1/jobs", booking);
  storeJob(job);
});
handleSubmit($("#profile"), () => {
  const chosen = [...document.querySelectorAll("[name=services]:checked")].map(({ value }) => value);
  return sendHttp("PATCH", `/v1/technicians/${account?.user.id}`, { services: chosen });
});
handleSubmit($("#availability"), async ({ lat, lon }, way) => {
  const where = way === "on" ? { lat: Number(lat), lon: Number(lon) } : {};
  const { receiving, blockers } = await callout.request("availability", { online: way === "on", ...where });
  const notice = receiving ? "Online: jobs near by are offered to you." : `No jobs now: ${blockers.join(", ")}.`;
  Object.assign($("[data-notice]"), { hidden: false, textContent: notice });
});
handleSubmit($("#service"), ({ base_amount, ...rest }) =>
  sendHttp("POST", "/v1/services", { ...rest, base_amount: Number(base_amount), currency: "USD", pricing: "flat" }));
$("#look").onclick = () => showTechnicians();

/** Show the technicians, each with a button to approve them. */
async function showTechnicians() {
  const { items } = await callout.http("GET", "/v1/technicians?limit=50");
  const lines = items.map(({ id, name, kyc, account: state, online }) => {
    const good = kyc === "approved" && state === "approved";
    const chips = [online ? "online" : "offline", good ? "approved" : `KYC ${kyc}, account ${state}`];
    const review = { kyc: "approved", account: "approved" };
    const approve = () => sendHttp("POST", `/v1/technicians/${id}/review`, review).then(showTechnicians);
    return listItem(name, chips, id, good ? [] : [makeButton("Approve", approve, "main")]);
  });
  $("#technicians").replaceChildren(...lines);
}

/** Send a command for a job or its offer, and update the lists. */
function sendCommand(job, command) {
  const args = { job: job.id, ...EXAMPLE_ARGUMENTS[command] };
  const offered = OFFER_COMMANDS.includes(command);
  const asked = offered ? callout.request(command, args) : callout.request("command", { command, ...args });
  return asked.then((ok) => {
    if (offered) offers.delete(job.id);
    if (ok.job) storeJob(ok.job);
    showLists();
  });
}

/** Return a list item with a title, words, an id and buttons. */
function listItem(title, chips, id, buttons) {
  const words = chips.filter(Boolean).map((chip) => element("span", { className: "chip" }, chip));
  const head = element("div", { className: "row" }, element("strong", {}, title), ...words);
  const line = element("li", {}, head, element("code", {}, id));
  if (buttons.length) line.append(element("div", { className: "row" }, ...buttons));
  return line;
}

/** Return a price as text; "" if it has no amount. */
const priceText = ({ amount, currency }) => (amount === undefined || amount === null ? "" : `${amount / 100} ${currency}`);

/** Show the open offers, the last 20 jobs and the cursors. */
function showLists() {
  const open = [...offers.values()].map(({ job, distance_m }) => {
    const chips = [priceText(job), distance_m !== undefined && `${distance_m} m`];
    const claim = makeButton("Claim", () => sendCommand(job, "claim"), "main");
    const buttons = [claim, makeButton("Decline", () => sendCommand(job, "decline"))];
    return listItem("Offer", chips, job.id, buttons);
  });
  $("#offers").replaceChildren(...open);
  const all = [...jobs.values()].reverse().slice(0, 20).map((job) => {
    const actions = (job.actions ?? []).map((action) => action.command ?? action);
    const steps = actions.filter((name) => !OFFER_COMMANDS.includes(name));
    const buttons = steps.map((name) => makeButton(name, () => sendCommand(job, name)));
    return listItem(job.address ?? "Job", [job.status, priceText(job)], job.id, buttons);
  });
  $("#jobs ul").replaceChildren(...all);
  showCursors();
}

/** Show the client's cursor of each zone. */
function showCursors() {
  const places = Object.entries(callout.cursors.toJSON()).map(([zone, { epoch, seq }]) => [zone, `${epoch} #${seq}`]);
  const rows = places.map(([zone, at]) => element("div", {}, element("dt", {}, zone), element("dd", {}, at)));
  $("#cursors").replaceChildren(...rows);
}

const operation = $("#ask select");
const ways = [...Object.keys(OPS).map((op) => `socket: ${op}`), ...METHODS.map((method) => `HTTP: ${method}`)];
operation.append(...ways.map((way) => element("option", {}, way)));
operation.onchange = () => {
  const [way, what] = operation.value.split(": ");
  $("#ask [data-path]").hidden = way === "socket";
  $("#ask [name=body]").value = way === "socket" ? JSON.stringify(OPS[what], null, 2) : what === "GET" ? "" : "{}";
};
operation.onchange();
handleSubmit($("#ask form"), async ({ by, path, body }) => {
  const [way, what] = by.split(": ");
  const given = body.trim() ? JSON.parse(body) : undefined;
  await (way === "socket" ? callout.request(what, given) : sendHttp(what, path, given));
});

if (account) startSession(account).catch(() => {});
