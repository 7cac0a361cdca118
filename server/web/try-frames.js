// The list of frames on the page to try Callout on: all frames and requests, the newest first, with a filter.

const MAX_FRAMES = 500;
const SECRET_MEMBERS = ["token", "access_token", "refresh_token", "password"];

/** Return a copy of `value` without its secret members. @param {any} value */
const withoutSecrets = (value) => JSON.parse(JSON.stringify(value ?? null, (name, inner) => (SECRET_MEMBERS.includes(name) ? "…" : inner)));

/** Return a new element. @param {string} tag @param {Record<string, any>} [properties] @param {...(Node | string)} children */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Return `value` as coloured JSON. Only text nodes are made, so that no value is parsed as HTML. @param {any} value */
function colouredJson(value) {
  const pre = element("pre");
  const text = JSON.stringify(value, null, 2) ?? "null";
  for (const [word, key, string] of text.matchAll(/("(?:[^"\\]|\\.)*"(?=:))|("(?:[^"\\]|\\.)*")|-?\d[\d.eE+-]*|[^"\d-]+|-/g)) {
    const kind = key ? "key" : string ? "string" : /^-?\d/.test(word) ? "number" : "";
    pre.append(kind ? element("span", { className: kind }, word) : word);
  }
  return pre;
}

export class Frames {
  /** @param {HTMLElement} room */
  constructor(room) {
    const find = (/** @type {string} */ what) => /** @type {any} */ (room.querySelector(what));
    [this.list, this.count, this.search] = [".list", "[data-count]", "[type=search]"].map(find);
    this.showHeartbeats = find("[data-heartbeats]");
    /** The frames that arrived while the list was paused. @type {HTMLElement[]} */ this.waiting = [];
    this.paused = false;
    this.search.oninput = this.showHeartbeats.onchange = () => this.filter();
    find("[data-clear]").onclick = () => (this.list.replaceChildren(), this.filter());
    find("[data-pause]").onclick = ({ target }) => {
      target.ariaPressed = String((this.paused = !this.paused));
      this.list.prepend(...this.waiting.splice(0).reverse());
      this.filter();
    };
  }

  /**
   * @param {string} sign @param {string} name in bold @param {any} content shown when the line is opened
   * @param {{ kind?: string, more?: string, heartbeat?: boolean }} [how] heartbeats are hidden unless their box is checked
   */
  add(sign, name, content, { kind = "", more = "", heartbeat = false } = {}) {
    const [body, time] = [withoutSecrets(content), new Date().toISOString().slice(11, 23)];
    const gist = [more, JSON.stringify(body?.data ?? body?.ok ?? body).slice(0, 300)].filter(Boolean).join("  ");
    const words = [["time", time], ["i", sign], ["b", name], ["span", gist]];
    const summary = element("summary", {}, ...words.map(([tag, word]) => element(tag, {}, word)));
    const line = element("details", { className: `frame ${kind}` }, summary);
    const text = `${name} ${more} ${JSON.stringify(body)}`.toLowerCase();
    Object.assign(line.dataset, { heartbeat: heartbeat ? "yes" : "", text });
    line.addEventListener("toggle", () => line.append(colouredJson(body)), { once: true });
    if (this.paused) this.waiting.push(line);
    else this.list.prepend(line);
    while (this.list.children.length > MAX_FRAMES) this.list.lastChild.remove();
    this.waiting.splice(0, this.waiting.length - MAX_FRAMES);
    this.filter();
  }

  /** Hide the frames that do not contain the text of the search, and show the counts. */
  filter() {
    const wanted = this.search.value.trim().toLowerCase();
    let count = 0;
    for (const line of this.list.children) {
      line.hidden = (line.dataset.heartbeat && !this.showHeartbeats.checked) || !line.dataset.text.includes(wanted);
      count += line.hidden ? 0 : 1;
    }
    const all = this.list.children.length;
    const late = this.waiting.length ? `, ${this.waiting.length} waiting` : "";
    this.count.textContent = (count === all ? `${all}` : `${count} of ${all}`) + late;
  }
}
