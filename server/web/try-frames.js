// The log of the page to try Callout on: everything that is said, the newest first, of which a filter hides some.

const KEPT = 500;
const SECRET = ["token", "access_token", "refresh_token", "password"];

/** What may be shown of `value`. @param {any} value */
const shown = (value) => JSON.parse(JSON.stringify(value ?? null, (name, inner) => (SECRET.includes(name) ? "…" : inner)));

/** An element. @param {string} tag @param {Record<string, any>} [properties] @param {...(Node | string)} children */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** `value` as coloured JSON. Only text nodes are made: what somebody wrote stays text. @param {any} value */
function pretty(value) {
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
    [this.list, this.count, this.search, this.beats] = [".list", "[data-count]", "[type=search]", "[data-beats]"].map(find);
    /** What came while paused. @type {HTMLElement[]} */ this.late = [];
    this.paused = false;
    this.search.oninput = this.beats.onchange = () => this.filter();
    find("[data-clear]").onclick = () => (this.list.replaceChildren(), this.filter());
    find("[data-pause]").onclick = ({ target }) => {
      target.ariaPressed = String((this.paused = !this.paused));
      this.list.prepend(...this.late.splice(0).reverse());
      this.filter();
    };
  }

  /**
   * @param {string} sign @param {string} name in bold @param {any} said shown when it is opened
   * @param {{ kind?: string, more?: string, beat?: boolean }} [how] beats are hidden unless asked for
   */
  add(sign, name, said, { kind = "", more = "", beat = false } = {}) {
    const [body, time] = [shown(said), new Date().toISOString().slice(11, 23)];
    const gist = [more, JSON.stringify(body?.data ?? body?.ok ?? body).slice(0, 300)].filter(Boolean).join("  ");
    const words = [["time", time], ["i", sign], ["b", name], ["span", gist]];
    const summary = element("summary", {}, ...words.map(([tag, word]) => element(tag, {}, word)));
    const line = element("details", { className: `frame ${kind}` }, summary);
    Object.assign(line.dataset, { beat: beat ? "yes" : "", text: `${name} ${more} ${JSON.stringify(body)}`.toLowerCase() });
    line.addEventListener("toggle", () => line.append(pretty(body)), { once: true });
    if (this.paused) this.late.push(line);
    else this.list.prepend(line);
    while (this.list.children.length > KEPT) this.list.lastChild.remove();
    this.late.splice(0, this.late.length - KEPT);
    this.filter();
  }

  filter() {
    const wanted = this.search.value.trim().toLowerCase();
    let count = 0;
    for (const line of this.list.children) {
      line.hidden = (line.dataset.beat && !this.beats.checked) || !line.dataset.text.includes(wanted);
      count += line.hidden ? 0 : 1;
    }
    const all = this.list.children.length;
    const late = this.late.length ? `, ${this.late.length} waiting` : "";
    this.count.textContent = (count === all ? `${all}` : `${count} of ${all}`) + late;
  }
}
