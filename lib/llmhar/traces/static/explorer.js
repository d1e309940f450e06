/* Explorer: reasoning traces to look at, in a notebook (anywidget) and in one offline file.

   It shows a bundle (lib/llmhar/traces/bundle.py says what is in one) and derives everything else here: filters, shares,
   which mention lights which event. No dependencies, no network.

   Everything in a bundle is untrusted. Text reaches the page as text nodes only; element names, attribute names and
   classes are literals of this file, numbers at most are added to them (tests/traces/test_view_offline.py greps for it). */

const MARKS = { right: "✓", wrong: "✗", none: "–", unscored: "?" };
const OUTCOMES = { right: "right", wrong: "wrong", none: "no valid answer", unscored: "truth is not scored" };
const CITES = new Map([
  ["event", "by number"],
  ["sensor", "sensor"],
  ["room", "room"],
  ["time", "time"],
]);
const ON = new Set(["turned ON", "OPENED", "ENTERED"]);
const ALL = -1;
const MAX_SHOWN = 4; // models side by side: more columns cannot be read
const ROW_PX = 80; // height of a summary row; explorer.css has the same number
const SPARE_ROWS = 5; // drawn beyond what is visible, so that fast scrolling shows no gap
const N_COLOURS = 10;
const N_CHOICES = 6; // activities to choose from in guess mode
const STEP_MS = 900; // the floor view's pace
const PARTS = ["time", "room", "sensor", "state"]; // of an event, in the order of a bundle
const PLAN_PX = 640; // width of a floor plan in its own units: rooms scale, letters and dots do not

/* ------------------------------------------------------------------------------------------------ elements */

const SVG = "http://www.w3.org/2000/svg";
const UNSAFE = /^(on|style$|src|href|formaction|srcdoc)/i;

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "on") for (const [kind, act] of Object.entries(value)) node.addEventListener(kind, act);
    else if (UNSAFE.test(name)) throw new Error(`attribute ${name} is not for this page`);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child); // text: a text node
  return node;
}

/** An element; strings among the children become text nodes. `props.on` maps event kinds to functions. */
const h = (tag, props = {}, ...children) => fill(document.createElement(tag), props, children);
const svg = (tag, props = {}, ...children) => fill(document.createElementNS(SVG, tag), props, children);

const button = (text, act, props = {}) => h("button", { type: "button", ...props, on: { click: act } }, text);
const spoken = (text) => h("span", { class: "sr" }, text);
const badge = (m) => h("span", { class: "badge" }, String(m + 1));
/** A text that may be broken after "_" and "/", never inside a word. */
const breakable = (text) => text.split(/(?<=[_/])/).flatMap((part, i) => (i ? [h("wbr"), part] : [part]));
/** A number from a text, the same at every visit: what is drawn by lot must not change when it is drawn again. */
const lot = (text) => [...text].reduce((sum, letter) => (Math.imul(sum, 31) + letter.codePointAt(0)) | 0, 7) >>> 0;
const plural = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;

/* ------------------------------------------------------------------------------------------------ the bundle */

/** The bundle in zlib-packed bytes. Throws with the cure where the browser is too old. */
async function unpack(bytes) {
  if (typeof DecompressionStream === "undefined")
    throw new Error(
      "This browser cannot unpack the data: it lacks DecompressionStream. " +
        "Open the file in Chrome 111, Firefox 113, Safari 16.4 or later.",
    );
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length); // Uint8Array.from with a function takes seconds for megabytes
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

/** Short codes of labels ("watching TV": WT), all different: what a narrow cell can hold beside its colour. */
function shortCodes(labels) {
  const used = new Set();
  return labels.map((label, number) => {
    const words = label.split(/[^\p{L}\p{N}]+/u).filter((w) => w && !/^(and|the|of|a|or|in|to|for|from)$/i.test(w));
    const [first = "", second = ""] = words;
    const tries = [
      words
        .slice(0, 2)
        .map((w) => [...w][0])
        .join(""),
      ...[1, 2, 3, 4].map((n) => ([...first][0] ?? "") + [...(second || first.slice(1))].slice(0, n).join("")),
      `L${number}`,
    ];
    const code =
      tries.map((t) => t.toUpperCase()).find((t) => t.length > 1 && t.length < 6 && !used.has(t)) ?? `#${number}`;
    used.add(code);
    return code;
  });
}

/** What can be said of windows, events and answers of a bundle. Draws nothing. */
class Traces {
  constructor(bundle) {
    Object.assign(this, { bundle, windows: bundle.windows, models: bundle.models, labels: bundle.labels });
    this.codes = shortCodes(bundle.labels);
    this.colours = this.#colours();
    this.sessions = this.#sessions();
    this.texts = []; // window -> lower-case texts for the search, made when first needed
    this.notes = new Map();
    for (const note of bundle.notes ?? []) this.addNote(note);
  }

  /**
   * Colour number of each label: its place among its home's activities, so that it has it on every page; from the
   * eleventh on another where a label of the same window has that already.
   */
  #colours() {
    const beside = this.labels.map(() => new Set());
    for (const w of this.windows) {
      const inside = new Set([...w.e.flatMap((e) => e.slice(4)), ...w.a.flatMap((t) => t?.l ?? [])]);
      for (const one of inside) for (const other of inside) if (one >= 0 && one !== other) beside[one]?.add(other);
    }
    const places = new Map();
    for (const { activities = [] } of this.bundle.homes)
      activities.forEach((name, place) => places.has(name) || places.set(name, place));
    const place = (label) => places.get(this.labels[label]) ?? lot(this.labels[label]);
    const order = this.labels.map((_, label) => label).sort((a, b) => place(a) - place(b) || a - b);
    const colours = [];
    for (const label of order) {
      const uses = new Array(N_COLOURS).fill(0);
      for (const other of beside[label]) if (colours[other] !== undefined) uses[colours[other]] += 1;
      const least = Math.min(...uses);
      let colour = place(label) % N_COLOURS;
      while (uses[colour] > least) colour = (colour + 1) % N_COLOURS;
      colours[label] = colour;
    }
    return colours;
  }

  /** The activity that most scored events of a window have; several where they are equally many. */
  mainTruths(w) {
    const counts = new Map();
    for (const e of w.e) for (const label of e.slice(4)) if (label >= 0) counts.set(label, (counts.get(label) ?? 0) + 1);
    return [...counts.keys()].filter((label) => counts.get(label) === Math.max(...counts.values()));
  }

  /** What a viewer may guess for a window, by lot and always the same: the truth and activities of other windows. */
  choices(n) {
    const truths = this.mainTruths(this.windows[n]);
    if (!truths.length) return [];
    this.common ??= [...new Set(this.windows.flatMap((w) => this.mainTruths(w)))];
    const drawn = (label) => lot(`${n} ${this.labels[label]}`);
    const others = this.common.filter((label) => !truths.includes(label)).sort((a, b) => drawn(a) - drawn(b) || a - b);
    const chosen = [truths[0], ...others.slice(0, N_CHOICES - 1)];
    return chosen.sort((a, b) => this.labels[a].localeCompare(this.labels[b]));
  }

  /** What a model takes most events of a window for; undefined where it names nothing. */
  mainAnswer(w, m) {
    const counts = new Map();
    for (const label of w.a[m]?.l ?? []) if (label >= 0) counts.set(label, (counts.get(label) ?? 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0])[0]?.[0];
  }

  #sessions() {
    const known = new Map();
    this.windows.forEach((w) => {
      const key = JSON.stringify([w.d, w.h, w.s]);
      if (!known.has(key)) known.set(key, known.size);
      w.session = known.get(key);
    });
    return [...known.keys()].map((key) => JSON.parse(key));
  }

  addNote(note) {
    if (note.tags.length || note.text)
      this.notes.set(note.k, note); // a trace has one note, the latest version
    else this.notes.delete(note.k); // taken back
    for (const n of this.texts.keys()) if (this.windows[n].a.some((t) => t?.k === note.k)) delete this.texts[n];
  }

  noteOf(trace) {
    return trace?.k ? this.notes.get(trace.k) : undefined;
  }

  /** "right", "wrong", "none" or "unscored" for one event of one answer. */
  outcome(trace, w, event) {
    const label = trace.l[event];
    if (label === undefined || label < 0) return "none";
    if (w.e[event][4] < 0) return "unscored";
    return isTrue(w.e[event], label) ? "right" : "wrong";
  }

  /** Right and scored events of one answer; null where the model was not asked. No answer is wrong (S1 §3.1.5). */
  share(w, m) {
    const trace = w.a[m];
    if (!trace) return null;
    let right = 0,
      scored = 0;
    w.e.forEach((event, i) => {
      if (event[4] < 0) return;
      scored += 1;
      right += isTrue(event, trace.l[i]) ? 1 : 0;
    });
    return { right, scored };
  }

  /** Whether the given models name different activities for an event; who names none does not count. */
  disagreeAt(w, models, event) {
    const said = new Set();
    for (const m of models) if (w.a[m] && w.a[m].l[event] >= 0) said.add(w.a[m].l[event]);
    return said.size > 1;
  }

  disagree(w, models) {
    return w.e.some((_, i) => this.disagreeAt(w, models, i));
  }

  /** Some scored event that every given model gets wrong. */
  allWrong(w, models) {
    const asked = models.filter((m) => w.a[m]);
    return asked.length > 0 && w.e.some((e, i) => e[4] >= 0 && asked.every((m) => !isTrue(e, w.a[m].l[i])));
  }

  /** Some scored event that the teacher has right and a student has wrong. */
  broke(w) {
    const teacher = w.a[this.bundle.teacher];
    const students = this.bundle.students.filter((m) => w.a[m]);
    if (!teacher) return false;
    const right = (m, e, i) => isTrue(e, w.a[m].l[i]);
    return w.e.some((e, i) => e[4] >= 0 && right(this.bundle.teacher, e, i) && students.some((m) => !right(m, e, i)));
  }

  /** Lower-case texts of a window: what all models see, then one text a model. */
  textsOf(n) {
    if (!this.texts[n]) {
      const w = this.windows[n];
      const told = (note) => (note ? `${note.tags.join(" ")} ${note.text}` : "");
      const seen = w.e.map((e) => `${e[0]} ${e[1]} ${e[2]} ${e[3]}`).join("\n");
      const said = (t) => [t.r, ...(t.w ?? []).map(([why]) => why), t.x, told(this.noteOf(t))].join("\n");
      this.texts[n] = [seen, ...w.a.map((t) => (t ? said(t) : ""))].map((t) => t.toLowerCase());
    }
    return this.texts[n];
  }

  /** Make these texts while nobody waits. */
  warm(n = 0) {
    globalThis.requestIdleCallback?.((idle) => {
      while (n < this.windows.length && idle.timeRemaining() > 1) this.textsOf(n++);
      if (n < this.windows.length) this.warm(n);
    });
  }

  /** Numbers of the windows that pass every filter. `shown`: models side by side, whom the quick filters are about. */
  filter(f, shown) {
    const text = f.text.trim().toLowerCase();
    const every = this.models.map((_, m) => m);
    const found = [];
    this.windows.forEach((w, n) => {
      if (f.data !== ALL && w.d !== f.data) return;
      if (f.home !== ALL && w.h !== f.home) return;
      if (f.session !== ALL && w.session !== f.session) return;
      if (f.model !== ALL && !w.a[f.model]) return;
      const traces = (f.model === ALL ? every : [f.model]).map((m) => w.a[m]).filter(Boolean);
      if (f.verdict !== ALL && !traces.some((t) => t.v.includes(f.verdict))) return;
      if (f.activity !== ALL) {
        const truth = f.where !== "answer" && w.e.some((e) => isTrue(e, f.activity));
        if (!truth && !(f.where !== "truth" && traces.some((t) => t.l.includes(f.activity)))) return;
      }
      if (f.broke && !this.broke(w)) return;
      if (f.wrong && !this.allWrong(w, shown)) return;
      if (f.disagree && !this.disagree(w, shown)) return;
      if (f.noted && !traces.some((t) => this.noteOf(t))) return;
      if (text) {
        const texts = this.textsOf(n);
        if (!texts.some((t, i) => (i === 0 || f.model === ALL || i === f.model + 1) && t.includes(text))) return;
      }
      found.push(n);
    });
    return found;
  }

  name(label) {
    return this.labels[label] ?? "not annotated or not scored";
  }

  /** All activities of an event: several where residents caused it together. */
  truth(event) {
    return event
      .slice(4)
      .map((label) => this.name(label))
      .join(" / ");
  }

  verdict(number) {
    return words(this.bundle.verdicts[number] ?? "no verdict");
  }

  /** "watching TV ×6, preparing drinks ×4" */
  truthSummary(w) {
    const counts = new Map();
    for (const e of w.e) counts.set(e[4], (counts.get(e[4]) ?? 0) + 1);
    return [...counts]
      .sort((a, b) => b[1] - a[1])
      .map(([label, n]) => `${this.name(label)} ×${n}`)
      .join(", ");
  }
}

const noFilter = () => ({
  data: ALL,
  home: ALL,
  session: ALL,
  model: ALL,
  verdict: ALL,
  activity: ALL,
  where: "either",
  broke: false,
  wrong: false,
  disagree: false,
  noted: false,
  text: "",
});
const words = (verdict) => verdict.replaceAll("_", " ");
/** Whether a label is one of an event's activities. */
const isTrue = (event, label) => event.indexOf(label, 4) >= 0;
/** Whether an event was asked about otherwise than it stood; one that was dropped was not asked about. */
const isEdited = (event, asked) => asked !== undefined && PARTS.some((_, i) => asked[i] !== event[i]);
const span = (w) => (w.e.length ? `${w.e[0][0]} – ${w.e.at(-1)[0]}` : "no events");
const sessionName = (w) => (/^\d/.test(w.s) ? `session ${w.s}` : w.s);
/** The reason in an event's own item of an answer: [text, mentions], or undefined. */
const whyOf = (trace, i) => (trace?.w?.[i]?.[0] ? trace.w[i] : undefined);
const hasWhys = (trace) => trace?.w?.some(([why]) => why) ?? false;
/** What stands where a model thought nothing before its answer. */
const silence = (trace) =>
  hasWhys(trace)
    ? "Each event's reason stands beside it, in the table above."
    : "No reasoning: this model answered at once.";
const eventText = (e, i) => `event ${i}: ${e[0]} ${[e[1], e[2], e[3]].filter(Boolean).join(" ")}`;

/* ------------------------------------------------------------------------------------------------ filter bar */

/** Selects, quick filters, search and the models side by side. Calls `app.refilter()` on every change. */
class FilterBar {
  constructor(app) {
    this.app = app;
    const { bundle, labels, models, sessions } = app.traces;
    const manyData = bundle.datasets.length > 1;
    const names = (list) => list.map((one, i) => [i, one.name]);
    this.fields = [
      this.#select("data", "Data set", names(bundle.datasets)),
      this.#select("home", "Home", names(bundle.homes)),
      this.#select(
        "session",
        "Session",
        sessions.map(([d, , s], i) => [i, manyData ? `${bundle.datasets[d].name}: ${s}` : s]),
      ),
      this.#select(
        "model",
        "Model",
        models.map((m, i) => [i, `${i + 1} ${m.name}`]),
      ),
      this.#select(
        "verdict",
        "Verdict",
        bundle.verdicts.map((v, i) => [i, words(v)]),
      ),
      this.#select(
        "activity",
        "Activity",
        labels.map((l, i) => [i, l]).sort((a, b) => a[1].localeCompare(b[1])),
      ),
      this.#where(),
    ];
    this.search = h("input", {
      type: "search",
      placeholder: "reasoning, answer, sensor, note",
      "aria-label": "Search text",
      "aria-keyshortcuts": "/",
      on: { input: () => this.#set("text", this.search.value) },
    });
    this.quick = this.#quick();
    this.chips = models.map((model, m) =>
      button([badge(m), model.name], () => app.toggleModel(m), {
        class: "chip model",
        title: `${model.name}: ${model.kind}`,
      }),
    );
    this.node = h(
      "div",
      { class: "filters", role: "search", "aria-label": "Filters" },
      h(
        "div",
        { class: "line" },
        ...this.fields.map((f) => f.node),
        h("label", { class: "field grow" }, h("span", {}, "Text"), this.search),
      ),
      h(
        "div",
        { class: "line" },
        ...this.quick.map((q) => q.node),
        button("Reset", () => this.reset(), { class: "plain reset" }),
        h("span", { class: "side", role: "group", "aria-label": "Models side by side" }, "Side by side", ...this.chips),
      ),
    );
    this.show();
  }

  #set(key, value) {
    this.app.filter[key] = value;
    this.app.refilter();
  }

  #select(key, title, options) {
    const choices = [[ALL, "all"], ...options].map(([value, text]) => h("option", { value }, text));
    const select = h("select", { on: { change: () => this.#set(key, Number(select.value)) } }, ...choices);
    const node = h("label", { class: `field ${key}`, hidden: options.length < 2 }, h("span", {}, title), select);
    return { key, node, select };
  }

  #where() {
    const choices = ["either", "truth", "answer"].map((w) =>
      h("option", { value: w }, w === "either" ? "truth or answer" : w),
    );
    const select = h("select", { on: { change: () => this.#set("where", select.value) } }, ...choices);
    return { key: "where", select, node: h("label", { class: "field where" }, h("span", {}, "Activity in"), select) };
  }

  #quick() {
    const { bundle, models } = this.app.traces;
    const taught = bundle.teacher !== null && bundle.students.length > 0;
    const kinds = [
      ["broke", "Student broke what the teacher had", "an event the teacher has right and a student has wrong", taught],
      ["wrong", "All wrong", "an event that every model shown side by side gets wrong", true],
      [
        "disagree",
        "Models disagree",
        "an event for which the models side by side name different activities",
        models.length > 1,
      ],
      [
        "noted",
        "With notes",
        "a trace with a tag or comment",
        this.app.traces.notes.size > 0 || !!this.app.python?.notes,
      ],
    ];
    return kinds
      .filter((kind) => kind[3])
      .map(([key, text, title]) => {
        const flip = () => this.#set(key, !this.app.filter[key]);
        return { key, node: button(text, flip, { class: `chip quick ${key}`, title: `Windows with ${title}` }) };
      });
  }

  reset() {
    this.app.filter = noFilter();
    this.app.refilter();
  }

  /** Bring the controls in line with the app's state. */
  show() {
    const { filter, shown } = this.app;
    for (const field of this.fields) field.select.value = String(filter[field.key]);
    if (this.search.value !== filter.text) this.search.value = filter.text;
    for (const { key, node } of this.quick) node.setAttribute("aria-pressed", String(filter[key]));
    this.chips.forEach((chip, m) => chip.setAttribute("aria-pressed", String(shown.includes(m))));
  }
}

/* ------------------------------------------------------------------------------------------------ list of windows */

/** Summary rows; only those in view are in the page. */
class WindowList {
  constructor(app) {
    this.app = app;
    this.space = h("div", { class: "space" });
    this.node = h(
      "div",
      {
        class: "windows",
        role: "listbox",
        tabindex: 0,
        "aria-label": "Windows",
        on: { scroll: () => this.#soon(), click: (event) => this.#click(event) },
      },
      this.space,
    );
    this.watch = new ResizeObserver(() => this.#soon());
    this.watch.observe(this.node);
  }

  #soon() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = undefined;
      this.draw();
    });
  }

  #click(event) {
    const row = event.target.closest("[data-place]");
    if (row) this.app.goTo(Number(row.dataset.place));
  }

  draw() {
    const { rows } = this.app;
    this.space.style.height = `${rows.length * ROW_PX}px`;
    const first = Math.max(0, Math.floor(this.node.scrollTop / ROW_PX) - SPARE_ROWS);
    const last = Math.min(rows.length, Math.ceil((this.node.scrollTop + this.node.clientHeight) / ROW_PX) + SPARE_ROWS);
    const visible = [];
    for (let place = first; place < last; place++) visible.push(this.#row(place));
    this.space.replaceChildren(...visible);
    if (!rows.length)
      this.space.append(
        h(
          "p",
          { class: "empty" },
          "No window passes these filters. ",
          button("Reset filters", () => this.app.bar.reset(), { class: "plain" }),
        ),
      );
    const active = this.space.querySelector(".current");
    if (active) this.node.setAttribute("aria-activedescendant", active.id);
    else this.node.removeAttribute("aria-activedescendant");
  }

  #row(place) {
    const { traces, rows, shown, at, serial } = this.app;
    const n = rows[place],
      w = traces.windows[n];
    const home = traces.bundle.homes.length > 1 ? `${traces.bundle.homes[w.h].name} · ` : "";
    const noted = w.a.some((t) => traces.noteOf(t));
    const row = h(
      "div",
      {
        class: place === at ? "row current" : "row",
        role: "option",
        id: `llmhar-${serial}-row-${place}`,
        "data-place": place,
        "data-window": n,
        "aria-selected": String(place === at),
        "aria-posinset": place + 1,
        "aria-setsize": rows.length,
      },
      h(
        "div",
        { class: "who" },
        h("b", {}, h("span", { class: "place", title: sessionName(w) }, `${home}${w.s}`), ` · window ${w.i}`),
        noted ? h("span", { class: "tag", title: "has notes" }, "note") : null,
        h("span", { class: "dim", title: span(w) }, w.e[0]?.[0].slice(0, 5) ?? ""),
      ),
      ...(this.app.hides(n)
        ? [h("div", { class: "truth" }, "not guessed yet")]
        : [
            h("div", { class: "truth" }, traces.truthSummary(w)),
            h("div", { class: "shares" }, ...shown.map((m) => this.#share(w, m))),
          ]),
    );
    row.style.top = `${place * ROW_PX}px`;
    return row;
  }

  #share(w, m) {
    const share = this.app.traces.share(w, m);
    const text = share ? `${share.right}/${share.scored}` : "not asked";
    const bar = h("span", { class: "bar", "aria-hidden": "true" }, h("i"));
    bar.firstChild.style.width = share?.scored ? `${(100 * share.right) / share.scored}%` : "0";
    const title = `${this.app.traces.models[m].name}: ${share ? `${text} events right` : text}`;
    return h("span", { class: "share", title }, badge(m), bar, h("span", {}, text));
  }

  /** Scroll the current row into view. */
  reveal() {
    const top = this.app.at * ROW_PX,
      box = this.node;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + ROW_PX > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW_PX - box.clientHeight;
  }
}

/* ------------------------------------------------------------------------------------------------ lights */

/** Which elements stand for which events; hover or focus on one lights all others of its events. A click keeps it lit. */
class Lights {
  constructor() {
    this.events = new Map(); // element -> event ids
    this.lit = [];
    this.kept = null; // the element that was clicked
    this.step = null; // the event where the floor view stands
  }

  add(node, ids, { focus = false } = {}) {
    node.setAttribute("data-cites", ids.join(" "));
    if (focus) node.setAttribute("tabindex", "0");
    this.events.set(node, ids);
    return node;
  }

  listen(root) {
    const of = (event) => (event.target instanceof Element ? event.target.closest("[data-cites]") : null);
    const on = (event) => (of(event) ? this.show(of(event)) : this.rest());
    root.addEventListener("mouseover", on);
    root.addEventListener("focusin", on);
    root.addEventListener("mouseleave", () => this.rest());
    root.addEventListener("focusout", () => this.rest());
    root.addEventListener("click", (event) => of(event) && this.keep(of(event)));
  }

  keep(node) {
    this.kept = this.kept === node ? null : node;
    for (const one of this.events.keys()) one.classList.toggle("kept", one === this.kept);
    this.rest();
  }

  stepTo(event) {
    this.step = event;
    this.rest();
  }

  letGo() {
    this.step = null;
    if (this.kept) this.keep(this.kept);
    this.rest();
  }

  /** What stays lit while nothing is pointed at. */
  rest() {
    if (this.kept) this.show(this.kept);
    else this.#light(this.step === null ? [] : [this.step]);
  }

  show(node) {
    this.#light(this.events.get(node) ?? []);
    node.classList.add("source");
    this.lit.push(node);
  }

  #light(ids) {
    for (const one of this.lit) one.classList.remove("lit", "source");
    const wanted = new Set(ids);
    this.lit = [...this.events].filter(([, own]) => own.some((id) => wanted.has(id))).map(([one]) => one);
    for (const one of this.lit) one.classList.add("lit");
  }
}

/* ------------------------------------------------------------------------------------------------ one window */

/** Everything about one window, drawn anew for each. */
class Detail {
  constructor(app) {
    this.app = app;
    this.node = h("div", { class: "detail", tabindex: 0, role: "region", "aria-label": "Window" });
    this.open = new Set(); // titles of unfolded parts: they stay open from window to window
    this.again = new Map(); // window -> what asking again gave
  }

  draw() {
    this.stop?.();
    this.lights = new Lights();
    const { app } = this;
    const n = app.current;
    if (n === undefined) {
      this.node.replaceChildren(h("p", { class: "empty" }, "No window to show."));
      return;
    }
    const w = app.traces.windows[n];
    const hides = app.hides(n);
    const body = h(
      "div",
      { class: hides ? "window guess" : "window" },
      this.#head(w),
      app.guesses ? this.#guess(w, n) : null,
      this.#timeline(w, hides),
      this.#table(w, hides),
      ...(hides
        ? []
        : [
            this.#models(w),
            this.#prompts(w),
            this.#floor(w),
            app.python?.reask ? this.#reask(w, n) : null,
          ]),
    );
    this.lights.listen(body);
    this.node.replaceChildren(body);
    this.#hold(body.querySelector(".timeline"));
  }

  /** Keep the timeline in view, where it leaves room to read; what is tabbed to must not hide behind it. */
  #hold(timeline) {
    const held = timeline.offsetHeight < 0.4 * this.node.clientHeight;
    timeline.classList.toggle("held", held);
    this.node.style.scrollPaddingTop = held ? `${timeline.offsetHeight + 10}px` : "";
  }

  /** A part that folds; its content is made when it is first opened. */
  #fold(key, title, make, props = {}) {
    const fold = h(
      "details",
      {
        ...props,
        on: {
          toggle: () => {
            if (fold.open) this.open.add(key);
            else this.open.delete(key);
            if (!fold.open || fold.childElementCount > 1) return;
            fold.append(make());
            fold.scrollIntoView({ block: "nearest" });
          },
        },
      },
      h("summary", {}, title),
    );
    if (this.open.has(key)) {
      fold.append(make());
      fold.open = true;
    }
    return fold;
  }

  #head(w) {
    const { app } = this;
    const { datasets, homes } = app.traces.bundle;
    const data = datasets[w.d].name,
      home = homes[w.h].name;
    return h(
      "div",
      { class: "head" },
      h("h2", {}, `${sessionName(w)} · window ${w.i}`),
      h(
        "span",
        { class: "dim" },
        `${span(w)} · ${data}${data.startsWith(home) ? "" : ` · home ${home}`} · ${plural(w.e.length, "event")}`,
      ),
      h(
        "span",
        { class: "steps" },
        button("← previous", () => app.step(-1), { "aria-keyshortcuts": "k", disabled: app.at === 0 }),
        button("next →", () => app.step(1), { "aria-keyshortcuts": "j", disabled: app.at === app.rows.length - 1 }),
        app.shown.length > 1
          ? button("next disagreement", () => app.nextDisagreement(), { "aria-keyshortcuts": "d" })
          : null,
      ),
    );
  }

  /* Guess mode: what were people doing? Truth and models come when the viewer has chosen. */
  #guess(w, n) {
    const { app } = this;
    const { traces } = app;
    const chosen = app.guesses.get(n);
    const truths = traces.mainTruths(w);
    const choices = traces.choices(n);
    if (!choices.length)
      return h("section", { class: "guessing" }, h("p", {}, "Nothing to guess: no event of this window has a truth."));
    const buttons = choices.map((label, i) => {
      const outcome = chosen === undefined ? "" : truths.includes(label) ? " right" : label === chosen ? " wrong" : "";
      return button([badge(i), traces.name(label)], () => app.choose(label), {
        class: `chip choice${outcome}`,
        "aria-pressed": String(label === chosen),
        "aria-keyshortcuts": String(i + 1),
        disabled: chosen !== undefined,
      });
    });
    const said =
      chosen === undefined
        ? null
        : h(
            "p",
            { class: "told", role: "status" },
            h("b", {}, truths.includes(chosen) ? "Right. " : "Not so. "),
            `Most events are: ${truths.map((label) => traces.name(label)).join(" / ")}. `,
            app.shown
              .filter((m) => w.a[m])
              .map((m) => {
                const label = traces.mainAnswer(w, m);
                return `${traces.models[m].name}: ${label === undefined ? "no answer" : traces.name(label)}`;
              })
              .join("; "),
          );
    return h(
      "section",
      { class: "guessing", "aria-label": "Guess" },
      h("p", {}, h("b", {}, "What were most of these events? "), h("span", { class: "dim" }, "keys 1 – 6")),
      h("div", { class: "line" }, ...buttons),
      said,
      h(
        "p",
        { class: "score" },
        app.scores(),
        button("start over", () => app.startGuessing(), { class: "plain" }),
      ),
    );
  }

  /* Where and when, then what it was and what models took it for. The table below says the same in words. */
  #timeline(w, hides) {
    const { app } = this;
    const { traces } = app;
    const places = app.byTime ? placesByTime(w.e) : w.e.map((_, i) => (100 * (i + 0.5)) / w.e.length);
    const at = (node, i) => {
      node.style.left = `${places[i]}%`;
      return this.lights.add(node, [i]);
    };
    const width = `min(${88 / Math.max(1, w.e.length)}%, 92px)`;
    const lane = (title, marks, css) =>
      h(
        "div",
        { class: `lane ${css}` },
        h("span", { class: "name", title }, title),
        h("div", { class: "track" }, ...marks),
      );
    const rooms = [...new Set(w.e.map((e) => e[1]))].map((room) =>
      lane(
        room || "(no room)",
        w.e.flatMap((e, i) =>
          e[1] !== room
            ? []
            : [
                at(
                  h(
                    "span",
                    {
                      class: ON.has(e[3]) ? "dot on" : "dot",
                      title: hides ? eventText(e, i) : `${eventText(e, i)}\ntruth: ${traces.truth(e)}`,
                    },
                    String(i),
                  ),
                  i,
                ),
              ],
        ),
        "room",
      ),
    );
    const cell = (i, label, outcome, title) => {
      const node = h(
        "span",
        { class: label >= 0 ? `cell c${traces.colours[label]} ${outcome}` : "cell blank", title },
        label >= 0 ? h("b", {}, traces.codes[label]) : null,
        outcome === "truth" ? null : h("span", { class: "mark" }, MARKS[outcome]),
      );
      node.style.width = width;
      return at(node, i);
    };
    const truth = lane(
      "truth",
      w.e.map((e, i) => cell(i, e[4], "truth", `truth: ${traces.truth(e)}`)),
      "strip",
    );
    const said = app.shown.map((m) => {
      const trace = w.a[m],
        { name } = traces.models[m];
      const cells = trace
        ? w.e.map((_, i) => {
            const outcome = traces.outcome(trace, w, i);
            return cell(i, trace.l[i], outcome, `${name}: ${this.#said(trace, i)} (${OUTCOMES[outcome]})`);
          })
        : [h("span", { class: "dim" }, "not asked")];
      return lane(`${m + 1} ${name}`, cells, "strip");
    });
    const labels = new Set(
      [...w.e.map((e) => e[4]), ...app.shown.flatMap((m) => w.a[m]?.l ?? [])].filter((l) => l >= 0),
    );
    const legend = [...labels].map((l) =>
      h("span", { class: `key c${traces.colours[l]}` }, h("b", {}, traces.codes[l]), ` ${traces.name(l)}`),
    );
    const byTime = h("input", {
      type: "checkbox",
      on: {
        change: () => {
          app.byTime = byTime.checked;
          this.draw();
          this.node.querySelector(".spacing input").focus();
        },
      },
    });
    byTime.checked = app.byTime;
    return h(
      "section",
      { class: "timeline", "aria-label": "Timeline; the table below has the same in words" },
      h("div", { class: "lanes" }, ...rooms, ...(hides ? [] : [truth, ...said])),
      h(
        "div",
        { class: "legend" },
        ...(hides ? [] : legend),
        h(
          "label",
          { class: "spacing", title: "Off: events at equal distances. On: by their time, crowded ones moved apart." },
          byTime,
          "true to time",
        ),
      ),
    );
  }

  #said(trace, i) {
    return trace.l[i] >= 0 ? this.app.traces.name(trace.l[i]) : this.app.traces.verdict(trace.v[i]);
  }

  #table(w, hides) {
    const { app } = this;
    const { traces } = app;
    const shown = hides ? [] : app.shown;
    const names = ["id", "time", "room", "sensor", "state", ...(hides ? [] : ["truth"])];
    const head = names.map((name) => h("th", { scope: "col" }, name));
    const models = shown.map((m) => {
      const share = traces.share(w, m);
      return h(
        "th",
        { scope: "col", class: "model" },
        badge(m),
        traces.models[m].name,
        h("small", {}, share ? ` ${share.right}/${share.scored}` : ""),
      );
    });
    const rows = w.e.map((e, i) => {
      const odd = traces.disagreeAt(w, shown, i);
      const truth = hides ? null : h("td", { class: e[4] < 0 ? "dim" : "" }, ...breakable(traces.truth(e)));
      return this.lights.add(
        h(
          "tr",
          { class: odd ? "event differ" : "event" },
          h(
            "th",
            { scope: "row" },
            String(i),
            odd ? h("span", { class: "differs", title: "the models side by side disagree" }, " ≠") : null,
          ),
          ...e.slice(0, 4).map((text) => h("td", {}, text)),
          truth,
          ...shown.map((m) => this.#answer(w, m, i)),
        ),
        [i],
        { focus: true },
      );
    });
    const reasons = shown.some((m) => hasWhys(w.a[m]));
    const many = shown.length > 2 ? " many" : "";
    const section = h(
      "section",
      { class: reasons ? `events reasons${many}` : "events" },
      h(
        "table",
        {},
        h("caption", { class: "sr" }, `Events of the window${hides ? "" : " with the truth and each model's answer"}`),
        h("thead", {}, h("tr", {}, ...head, ...models)),
        h("tbody", {}, ...rows),
      ),
    );
    section.style.setProperty("--n", String(Math.max(1, shown.length)));
    return section;
  }

  #answer(w, m, i) {
    const trace = w.a[m];
    if (!trace) return h("td", { class: "answer none" }, "not asked");
    const outcome = this.app.traces.outcome(trace, w, i);
    const verdict = this.app.traces.verdict(trace.v[i]);
    const remark = trace.l[i] >= 0 && verdict !== "ok" ? h("small", {}, ` ${verdict}`) : null;
    const why = whyOf(trace, i);
    return h(
      "td",
      { class: `answer ${outcome}` },
      h("span", { class: "mark", "aria-hidden": "true" }, MARKS[outcome]),
      ...breakable(this.#said(trace, i)),
      remark,
      spoken(`, ${OUTCOMES[outcome]}`),
      why ? this.#cited(h("div", { class: "why" }), ...why, w.e) : null,
    );
  }

  /* One column a model: what it thought, with every mention tied to its events, and what it answered. */
  #models(w) {
    const kinds = [...CITES].map(([kind, text]) => h("span", { class: `cite ${kind}` }, text));
    const columns = this.app.shown.map((m) => this.#model(w, m));
    const box = h("div", { class: "columns" }, ...columns);
    box.style.setProperty("--n", String(columns.length));
    return h(
      "section",
      { class: "thoughts" },
      h(
        "p",
        { class: "hint dim" },
        "Underlined words cite events: ",
        ...kinds.flatMap((k) => [k, " "]),
        "— point or tab to one to light its events, click to keep them lit.",
      ),
      box,
    );
  }

  #model(w, m) {
    const { traces } = this.app;
    const model = traces.models[m],
      trace = w.a[m];
    const head = [
      h("h3", {}, badge(m), model.name),
      h("p", { class: "dim" }, `${model.kind} · ${model.engine} · revision ${model.revision}`),
    ];
    if (!trace) return h("article", {}, ...head, h("p", {}, "This model was not asked about this window."));
    const counts = new Map();
    for (const v of trace.v) counts.set(v, (counts.get(v) ?? 0) + 1);
    const share = traces.share(w, m);
    const facts = [
      `${share.right} of ${share.scored} right`,
      [...counts].map(([v, n]) => `${n} ${traces.verdict(v)}`).join(", "),
      plural(trace.t, "token"),
      `${Number(trace.c).toFixed(2)} s`,
      `finish: ${trace.f}`,
    ];
    return h(
      "article",
      {},
      ...head,
      h("p", { class: "facts" }, ...facts.map((fact) => h("span", {}, fact))),
      this.#note(trace, m),
      trace.r
        ? this.#cited(h("div", { class: "prose" }), trace.r, trace.m, w.e)
        : h("p", { class: "dim" }, silence(trace)),
      this.#fold("answer", "Answer as written", () => h("pre", {}, trace.x || "(empty)")),
    );
  }

  /* Fill a box with a text whose mentions are tied to their events. */
  #cited(box, text, mentions, events) {
    let at = 0;
    for (const [start, end, ids, kind] of mentions) {
      if (start < at || end <= start || end > text.length) continue; // never lose or repeat text
      const known = ids.filter((id) => events[id]);
      const title = known.map((id) => eventText(events[id], id)).join("\n");
      const cite = h(
        "span",
        { class: `cite ${CITES.has(kind) ? kind : "event"}`, role: "button", title },
        text.slice(start, end),
      );
      box.append(text.slice(at, start), this.lights.add(cite, known, { focus: true }));
      at = end;
    }
    box.append(text.slice(at));
    return box;
  }

  #prompts(w) {
    const { prompts } = this.app.traces.bundle;
    const numbers = Array.isArray(w.p) ? this.app.shown.map((m) => w.p[m]) : [w.p];
    const several = new Set(numbers).size > 1;
    const one = (p) => {
      const prompt = prompts[p];
      if (!prompt) return h("p", {}, "The prompt is not in this file.");
      const parts = Object.entries(prompt.parts).map(([name, text]) =>
        this.#fold(`part ${name}`, words(name), () => h("pre", {}, text)),
      );
      return h(
        "div",
        {},
        ...parts,
        prompt.system_only
          ? h("p", { class: "dim" }, "These parts were the system message; the window followed as the user's.")
          : null,
      );
    };
    const make = () =>
      h(
        "div",
        { class: "prompts" },
        ...[...new Set(numbers)].map((p) => {
          const asked = this.app.shown.filter((_, i) => numbers[i] === p).map((m) => this.app.traces.models[m].name);
          return h("div", {}, several ? h("h4", {}, asked.join(", ")) : null, one(p));
        }),
      );
    return this.#fold("prompt", "Prompt: the parts that stay the same", make, { class: "part" });
  }

  /* -------------------------------------------------------------------------------------------- notes */

  #note(trace, m) {
    const note = this.app.traces.noteOf(trace);
    const shown =
      note &&
      h(
        "div",
        { class: "note" },
        ...note.tags.map((tag) => h("span", { class: "tag" }, tag)),
        h("span", {}, note.text),
        h("small", { class: "dim" }, ` ${note.at.slice(0, 16).replace("T", " ")}`),
      );
    const form =
      this.app.python?.notes && trace.k
        ? this.#fold(`note ${m}`, note ? "Edit the note" : "Add a note", () => this.#noteForm(trace, note))
        : null;
    return shown || form ? h("div", { class: "notes" }, shown, form) : null;
  }

  #noteForm(trace, note) {
    const tags = h("input", { type: "text", "aria-label": "Tags", placeholder: "tags, with commas" });
    const text = h("textarea", { rows: 2, "aria-label": "Comment", placeholder: "what is worth remembering" });
    tags.value = note?.tags.join(", ") ?? "";
    text.value = note?.text ?? "";
    const save = () => {
      const list = tags.value
        .split(",")
        .map((t) => t.trim())
        .filter(Boolean);
      if (list.length || text.value.trim() || note)
        this.app.python.send({ type: "note", k: trace.k, tags: list, text: text.value.trim() });
    };
    return h("form", { on: { submit: (event) => event.preventDefault() } }, tags, text, button("Save note", save));
  }

  /* -------------------------------------------------------------------------------------------- floor */

  /* Rooms as they lie, events lit in their order. */
  #floor(w) {
    const { plan } = this.app.traces.bundle.homes[w.h];
    if (!plan || !w.e.length) return null;
    return this.#fold(
      "floor",
      "Floor plan: the events in order",
      () => this.#floorPlan(w, new Map(Object.entries(plan))),
      { class: "part floor" },
    );
  }

  #floorPlan(w, rooms) {
    const places = floorPlaces(w.e, rooms);
    const dots = w.e.map((e, i) => {
      const { x, y } = places.dots[i];
      const colour = e[4] >= 0 ? `c${this.app.traces.colours[e[4]]}` : "blank";
      return svg(
        "g",
        { class: `stop ${colour}`, transform: `translate(${x} ${y})` },
        svg("title", {}, eventText(e, i)),
        svg("circle", { r: 15 }),
        svg("text", { dy: "0.35em" }, String(i)),
      );
    });
    const walls = places.rooms.map(({ name, x, y, width, height }) =>
      svg(
        "g",
        { class: "wall" },
        svg("rect", { x, y, width, height, rx: 6 }),
        svg("text", { x: x + 10, y: y + 22 }, name),
      ),
    );
    const picture = svg(
      "svg",
      {
        class: "plan",
        viewBox: `0 0 ${places.width} ${places.height}`,
        role: "img",
        "aria-label": "Floor plan; the line below says what is lit",
      },
      ...walls,
      ...dots,
    );
    const said = h("p", { class: "said", "aria-live": "polite" });
    const slider = h("input", {
      type: "range",
      min: 0,
      max: w.e.length - 1,
      value: 0,
      "aria-label": "Event",
      on: { input: () => show(Number(slider.value)) },
    });
    const show = (i) => {
      slider.value = String(i);
      dots.forEach((dot, j) => {
        dot.classList.toggle("now", j === i);
        dot.classList.toggle("past", j < i);
      });
      const answers = this.app.shown
        .filter((m) => w.a[m])
        .map((m) =>
          h(
            "span",
            { class: `answer ${this.app.traces.outcome(w.a[m], w, i)}` },
            badge(m),
            `${MARKS[this.app.traces.outcome(w.a[m], w, i)]} ${this.#said(w.a[m], i)}`,
          ),
        );
      said.replaceChildren(h("b", {}, eventText(w.e[i], i)), ` — truth: ${this.app.traces.truth(w.e[i])} `, ...answers);
      if (walked) this.lights.stepTo(i); // nothing is lit elsewhere until somebody plays
    };
    let timer;
    const play = button("▶ play", () => (timer ? this.stop() : start()));
    const start = () => {
      if (Number(slider.value) === w.e.length - 1) show(0);
      play.textContent = "❚❚ pause";
      timer = setInterval(() => {
        if (Number(slider.value) >= w.e.length - 1) return this.stop();
        show(Number(slider.value) + 1);
      }, STEP_MS);
    };
    this.stop = () => {
      clearInterval(timer);
      timer = undefined;
      play.textContent = "▶ play";
    };
    let walked = false;
    show(0);
    walked = true;
    return h("div", {}, h("div", { class: "controls" }, play, slider), said, picture);
  }

  /* -------------------------------------------------------------------------------------------- asking again */

  #reask(w, n) {
    return this.#fold("again", "Ask again: drop or change events and see what moves", () => this.#reaskForm(w, n), {
      class: "part again",
    });
  }

  #reaskForm(w, n) {
    const { app } = this;
    const draft = this.again.get(n) ?? {
      rows: w.e.map((e) => ({ keep: true, texts: e.slice(0, 4) })),
      model: app.shown[0],
      wording: "",
      temperature: 0,
    };
    this.again.set(n, draft);
    const rows = w.e.map((_, i) => {
      const keep = h("input", {
        type: "checkbox",
        "aria-label": `keep event ${i}`,
        on: { change: () => (draft.rows[i].keep = keep.checked) },
      });
      const fields = PARTS.map((part, k) => {
        const field = h("input", {
          type: "text",
          class: part,
          "aria-label": `${part} of event ${i}`,
          list: part === "room" || part === "sensor" ? `${part}s-${app.serial}` : null,
          on: { input: () => (draft.rows[i].texts[k] = field.value) },
        });
        field.value = draft.rows[i].texts[k];
        return h("td", {}, field);
      });
      keep.checked = draft.rows[i].keep;
      return h(
        "tr",
        {},
        h("td", {}, keep),
        h("th", { scope: "row" }, String(i)),
        ...fields,
      );
    });
    const names = ["room", "sensor"].map((part) =>
      h(
        "datalist",
        { id: `${part}s-${app.serial}` },
        ...this.#namesIn(w, part).map((value) => h("option", { value })),
      ),
    );
    const choose = (title, options, key, cast) => {
      const select = h(
        "select",
        { on: { change: () => (draft[key] = cast(select.value)) } },
        ...options.map(([value, text]) => h("option", { value }, text)),
      );
      select.value = String(draft[key]);
      return h("label", { class: "field" }, h("span", {}, title), select);
    };
    const warmth = h("input", {
      type: "number",
      min: 0,
      max: 2,
      step: 0.1,
      on: { input: () => (draft.temperature = Number(warmth.value)) },
    });
    warmth.value = String(draft.temperature);
    const result = h("div", { class: "result", "aria-live": "polite" }, ...this.#reasked(w, draft));
    const ask = () => {
      draft.kept = inTimeOrder(w.e, draft.rows).filter((i) => draft.rows[i].keep);
      draft.asked = draft.kept.map((i) => draft.rows[i].texts.slice());
      Object.assign(draft, {
        reply: undefined,
        trouble: draft.kept.length ? undefined : "Keep at least one event.",
        waiting: draft.kept.length > 0,
      });
      if (draft.waiting) {
        app.asking = n;
        app.python.send({
          type: "reask",
          window: n,
          model: draft.model,
          events: draft.asked,
          wording: draft.wording || null,
          temperature: draft.temperature,
        });
      }
      result.replaceChildren(...this.#reasked(w, draft));
    };
    return h(
      "div",
      {},
      h(
        "table",
        { class: "edit" },
        h(
          "thead",
          {},
          h("tr", {}, ...["keep", "id", ...PARTS].map((t) => h("th", { scope: "col" }, t))),
        ),
        h("tbody", {}, ...rows),
      ),
      ...names,
      h(
        "div",
        { class: "line" },
        choose(
          "Model",
          app.traces.models.map((m, i) => [i, m.name]),
          "model",
          Number,
        ),
        choose(
          "Wording",
          [["", "as before"], ...(app.python.wordings ?? []).map((name) => [name, name])],
          "wording",
          String,
        ),
        h("label", { class: "field" }, h("span", {}, "Temperature"), warmth),
        button("Ask", ask, { class: "strong ask" }),
      ),
      result,
    );
  }

  #reasked(w, draft) {
    if (draft.waiting) return [h("p", { class: "dim" }, "Asking …")];
    if (draft.trouble) return [h("p", { class: "trouble", role: "alert" }, draft.trouble)];
    if (!draft.reply) return [];
    const { traces } = this.app;
    const before = w.a[draft.replyModel],
      after = draft.reply;
    const name = (trace, i) => (trace ? (i === undefined || i < 0 ? "dropped" : this.#said(trace, i)) : "not asked");
    const why = (trace, i) => (whyOf(trace, i) ? h("div", { class: "why" }, trace.w[i][0]) : null);
    let moved = 0;
    const rows = w.e.map((e, i) => {
      const place = draft.replyKept.indexOf(i);
      const was = name(before, i),
        now = name(after, place);
      const changed = place >= 0 && was !== now;
      moved += changed ? 1 : 0;
      return h(
        "tr",
        { class: changed ? "changed" : "" },
        h("th", { scope: "row", class: "named" }, `${i} `, ...this.#namedEvent(e, draft.replyAsked[place])),
        isEdited(e, draft.replyAsked[place])
          ? h("td", { class: "dim" }, "none: it never happened")
          : h("td", {}, traces.truth(e)),
        h("td", {}, was, why(before, i)),
        h("td", { class: place < 0 ? "dim" : "" }, now, why(after, place)),
        h("td", {}, changed ? "≠ changed" : ""),
      );
    });
    const side = (title, trace) =>
      h(
        "article",
        {},
        h("h4", {}, title),
        h(
          "p",
          { class: "facts" },
          h("span", {}, plural(trace.t, "token")),
          h("span", {}, `${Number(trace.c).toFixed(2)} s`),
          h("span", {}, `finish: ${trace.f}`),
        ),
        h("div", { class: "prose" }, trace.r || silence(trace)),
        h("pre", {}, trace.x || "(empty)"),
      );
    const sides = h("div", { class: "columns" }, before ? side("Before", before) : null, side("After", after));
    sides.style.setProperty("--n", "2");
    return [
      h("p", {}, h("b", {}, traces.models[draft.replyModel].name), `: ${plural(moved, "label")} changed.`),
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, ...["event", "truth", "before", "after", ""].map((t) => h("th", { scope: "col" }, t)))),
        h("tbody", {}, ...rows),
      ),
      sides,
    ];
  }

  /** An event as it was asked about, and how it stood before where it was changed; a dropped one as it stood. */
  #namedEvent(e, asked) {
    const said = (texts) => texts.slice(0, 4).filter(Boolean).join(" ");
    return [said(asked ?? e), isEdited(e, asked) ? h("small", { class: "dim" }, `was: ${said(e)}`) : null];
  }

  /** Rooms or sensors of the window's home, to choose from. */
  #namesIn(w, part) {
    const place = PARTS.indexOf(part);
    const windows = this.app.traces.windows.filter((one) => one.h === w.h);
    return [...new Set(windows.flatMap((one) => one.e.map((e) => e[place])))].filter(Boolean).sort();
  }

  /** A reply of Python's to what was asked again. */
  answered(message) {
    const n = message.type === "reasked" ? message.window : this.app.asking;
    const draft = this.again.get(n);
    if (!draft) return;
    draft.waiting = false;
    if (message.type === "reasked")
      Object.assign(draft, {
        reply: message.answer,
        replyModel: message.model,
        replyKept: draft.kept,
        replyAsked: draft.asked,
        trouble: undefined,
      });
    else draft.trouble = message.text;
    const box = this.node.querySelector(".again .result");
    if (!box || n !== this.app.current) return;
    box.replaceChildren(...this.#reasked(this.app.traces.windows[n], draft));
    box.scrollIntoView({ block: "nearest" });
  }
}

/** Seconds since the first event's midnight; a clock that goes back has passed midnight. */
function secondsOf(events) {
  const seconds = [];
  for (const [clock] of events) {
    const [hours, minutes, rest] = clock.split(":").map(Number);
    let t = hours * 3600 + minutes * 60 + (rest || 0);
    while (seconds.length && t < seconds.at(-1)) t += 86400;
    seconds.push(t);
  }
  return seconds;
}

/** Ids of a window's events in the order of their clocks as edited: a changed time moves its event.

    An edited clock means the day that is nearest to where the event stood; one that is no clock leaves it there. */
function inTimeOrder(events, rows) {
  const before = secondsOf(events);
  const now = rows.map(({ texts: [clock] }, i) => {
    const found = /^(\d\d):(\d\d):(\d\d)$/.exec(clock);
    if (!found) return before[i];
    const t = Number(found[1]) * 3600 + Number(found[2]) * 60 + Number(found[3]);
    return t + 86400 * Math.round((before[i] - t) / 86400);
  });
  return rows.map((_, i) => i).sort((a, b) => now[a] - now[b] || a - b);
}

/** Places in per cent, by time of day. Crowded events are moved apart. */
function placesByTime(events) {
  const seconds = secondsOf(events);
  const edge = 50 / Math.max(1, events.length),
    gap = Math.min(4.5, 92 / Math.max(1, events.length));
  const length = Math.max(1, seconds.at(-1) - seconds[0]);
  const places = seconds.map((t) => edge + ((100 - 2 * edge) * (t - seconds[0])) / length);
  for (let i = 1; i < places.length; i++) places[i] = Math.max(places[i], places[i - 1] + gap);
  for (let i = places.length - 1, most = 100 - edge; i >= 0; i--, most -= gap) places[i] = Math.min(places[i], most);
  return places;
}

/** Rooms and events of a floor plan in the picture's units; rooms that the plan lacks lie in a row below. */
function floorPlaces(events, plan) {
  const boxes = [...plan].map(([name, [x, y, w, hgt]]) => ({ name, x, y, w, h: hgt }));
  const left = Math.min(...boxes.map((b) => b.x)),
    top = Math.min(...boxes.map((b) => b.y));
  const right = Math.max(...boxes.map((b) => b.x + b.w)),
    bottom = Math.max(...boxes.map((b) => b.y + b.h));
  const width = PLAN_PX,
    scale = (width - 20) / Math.max(right - left, 1e-9);
  const rooms = boxes.map((b) => ({
    name: b.name,
    x: 10 + (b.x - left) * scale,
    y: 10 + (b.y - top) * scale,
    width: b.w * scale,
    height: b.h * scale,
  }));
  let height = 20 + (bottom - top) * scale;
  const strange = [...new Set(events.map((e) => e[1]))].filter((room) => !plan.has(room));
  strange.forEach((name, i) =>
    rooms.push({
      name,
      title: name || "no room",
      x: 10 + (i * (width - 20)) / strange.length,
      y: height,
      width: (width - 20) / strange.length - 10,
      height: 90,
    }),
  );
  if (strange.length) height += 100;
  const byName = new Map(rooms.map((room) => [room.name, room]));
  const used = new Map(),
    dots = [];
  for (const e of events) {
    const room = byName.get(e[1]),
      place = used.get(room) ?? 0;
    used.set(room, place + 1);
    const columns = Math.max(1, Math.floor((room.width - 20) / 36)),
      row = Math.floor(place / columns);
    dots.push({
      x: room.x + 26 + (place % columns) * 36,
      y: Math.min(room.y + 50 + row * 36, room.y + Math.max(room.height - 18, 18)),
    });
  }
  return { rooms: rooms.map((room) => ({ ...room, name: room.title ?? room.name })), dots, width, height };
}

/* ------------------------------------------------------------------------------------------------ the whole */

const KEYS = [
  ["j or →", "next window"],
  ["k or ←", "previous window"],
  ["d", "next window where the models side by side disagree"],
  ["/", "search text"],
  ["1 – 9", "show or hide a model; in guess mode, choose an activity"],
  ["g", "guess mode: truth and models are hidden until you have chosen"],
  ["Esc", "leave a field, let go of lit events"],
  ["?", "this help"],
];
let serials = 0; // several widgets may live in one notebook: ids must differ

class Explorer {
  /** `python`: null offline, else {send, reask, notes, wordings}. */
  constructor(root, bundle, python) {
    this.serial = ++serials;
    this.root = root;
    this.python = python;
    this.traces = new Traces(bundle);
    this.filter = noFilter();
    this.shown = this.#firstShown();
    this.byTime = false;
    this.guesses = null; // guess mode: window -> the label that was chosen
    this.rows = this.traces.windows.map((_, n) => n);
    this.at = 0;
    this.status = h("span", { class: "count", role: "status", "aria-live": "polite" });
    this.bar = new FilterBar(this);
    this.list = new WindowList(this);
    this.detail = new Detail(this);
    this.help = this.#help();
    const lines = (bundle.provenance ?? []).map((line) => h("li", {}, line));
    root.replaceChildren(
      h(
        "header",
        {},
        h("h1", {}, bundle.title || "Reasoning traces"),
        lines.length
          ? h("details", { class: "from" }, h("summary", {}, "Where this comes from"), h("ul", {}, ...lines))
          : null,
        this.status,
        (this.guessing = button("Guess mode", () => this.toggleGuessing(), {
          class: "chip guessmode",
          "aria-pressed": "false",
          "aria-keyshortcuts": "g",
          title: "Hide truth and models until you have chosen",
        })),
        button("? keys", () => this.help.showModal(), { class: "plain", "aria-keyshortcuts": "?" }),
      ),
      this.bar.node,
      h("div", { class: "panes" }, this.list.node, this.detail.node),
      this.help,
    );
    this.refilter(true);
  }

  /** Teacher and students first, then whoever comes, at most four; numbers stay those of the bundle. */
  #firstShown() {
    const { teacher, students, models } = this.traces.bundle;
    const first = [
      ...(teacher === null || teacher === undefined ? [] : [teacher]),
      ...(students ?? []),
      ...models.map((_, m) => m),
    ];
    return [...new Set(first)].slice(0, MAX_SHOWN).sort((a, b) => a - b);
  }

  get current() {
    return this.rows[this.at];
  }

  /** Whether truth and answers of a window must not be seen yet. */
  hides(n) {
    return this.guesses !== null && !this.guesses.has(n) && this.traces.mainTruths(this.traces.windows[n]).length > 0;
  }

  toggleGuessing() {
    if (this.guesses) {
      this.guesses = null;
      this.guessing.setAttribute("aria-pressed", "false");
      this.refilter(true);
    } else this.startGuessing();
  }

  startGuessing() {
    this.guesses = new Map();
    this.guessing.setAttribute("aria-pressed", "true");
    this.refilter(true);
  }

  choose(label) {
    if (!this.hides(this.current)) return;
    this.guesses.set(this.current, label);
    this.refilter(true);
    this.detail.node.focus();
  }

  /** The viewers' score, and that of each model side by side on the same windows. */
  scores() {
    const { traces } = this;
    const done = [...this.guesses.keys()].map((n) => traces.windows[n]);
    const right = (say) => done.filter((w, i) => traces.mainTruths(w).includes(say(w, i))).length;
    const own = [...this.guesses.values()];
    const models = this.shown.map((m) => `${traces.models[m].name} ${right((w) => traces.mainAnswer(w, m))}`);
    return done.length ? `Right of ${done.length}: you ${right((_, i) => own[i])}, ${models.join(", ")}. ` : "";
  }

  /** Apply the filters; `redraw`: the window itself looks different now. */
  refilter(redraw = false) {
    const before = this.current,
      scrolled = this.detail.node.scrollTop;
    this.rows = this.traces.filter(this.filter, this.shown);
    this.at = Math.max(0, this.rows.indexOf(before));
    this.bar.show();
    this.say();
    this.list.reveal();
    this.list.draw();
    if (this.current === before && !redraw) return;
    this.detail.draw();
    this.detail.node.scrollTop = this.current === before ? scrolled : 0;
  }

  say(extra = "") {
    const all = this.traces.windows.length,
      n = this.rows.length;
    this.status.textContent =
      (n === all ? plural(all, "window") : `${n.toLocaleString("en")} of ${plural(all, "window")}`) +
      (extra && ` · ${extra}`);
  }

  goTo(place) {
    if (!(place >= 0 && place < this.rows.length)) return;
    this.at = place;
    this.say();
    this.list.reveal();
    this.list.draw();
    this.detail.draw();
    this.detail.node.scrollTop = 0;
  }

  step(by) {
    this.goTo(this.at + by);
  }

  nextDisagreement() {
    for (let i = 1; i <= this.rows.length; i++) {
      const place = (this.at + i) % this.rows.length;
      if (!this.traces.disagree(this.traces.windows[this.rows[place]], this.shown)) continue;
      this.goTo(place);
      return i <= this.rows.length - 1 ? undefined : this.say("the only disagreement");
    }
    this.say("the models side by side disagree nowhere here");
  }

  toggleModel(m) {
    if (m >= this.traces.models.length) return;
    const without = this.shown.filter((one) => one !== m);
    if (without.length === this.shown.length && this.shown.length === MAX_SHOWN)
      return this.say(`at most ${MAX_SHOWN} models side by side`);
    if (!without.length) return this.say("one model stays");
    this.shown = without.length < this.shown.length ? without : [...without, m].sort((a, b) => a - b);
    this.refilter(true);
  }

  #help() {
    const keys = KEYS.map(([key, what]) =>
      h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, what)),
    );
    const marks = Object.entries(MARKS).map(([kind, mark]) =>
      h("tr", {}, h("th", { scope: "row" }, mark), h("td", {}, OUTCOMES[kind])),
    );
    const close = button("Close", () => dialog.close(), { autofocus: true });
    const dialog = h(
      "dialog",
      { class: "help", "aria-label": "Help" },
      h("h2", {}, "Keys"),
      h("table", {}, ...keys),
      h("h2", {}, "Marks"),
      h("table", {}, ...marks),
      h(
        "p",
        {},
        "● filled events switched on or opened, ○ hollow ones switched off or closed. “All wrong” and “Models disagree” are about the models side by side; a model without an answer is wrong, but disagrees with nobody.",
      ),
      close,
    );
    return dialog;
  }

  /** One key press: true if it meant something here. Fields keep their keys. */
  key(event) {
    const field = event.target instanceof Element && event.target.closest("input, select, textarea, [contenteditable]");
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || this.help.open) return false;
    if (field) {
      if (event.key === "Escape") this.list.node.focus();
      return event.key === "Escape";
    }
    const rowKey = event.target === this.list.node ? { ArrowDown: 1, ArrowUp: -1 }[event.key] : undefined;
    if (rowKey) return (this.step(rowKey), true);
    if (/^[1-9]$/.test(event.key)) {
      const choice = this.current === undefined ? undefined : this.traces.choices(this.current)[Number(event.key) - 1];
      if (this.current === undefined || !this.hides(this.current)) this.toggleModel(Number(event.key) - 1);
      else if (choice !== undefined) this.choose(choice);
      return true;
    }
    const cited = event.target instanceof Element && event.target.matches("[data-cites]");
    if (cited && (event.key === "Enter" || event.key === " ")) return (this.detail.lights.keep(event.target), true);
    const acts = {
      j: () => this.step(1),
      ArrowRight: () => this.step(1),
      k: () => this.step(-1),
      ArrowLeft: () => this.step(-1),
      d: () => this.nextDisagreement(),
      g: () => this.toggleGuessing(),
      "/": () => this.bar.search.focus(),
      "?": () => this.help.showModal(),
      Escape: () => this.detail.lights.letGo(),
    };
    const act = Object.hasOwn(acts, event.key) ? acts[event.key] : null;
    act?.();
    return act !== null;
  }

  /** A message of Python's. */
  hear(message) {
    if (message?.type === "noted") {
      this.traces.addNote(message.note);
      for (const m of this.traces.models.keys()) this.detail.open.delete(`note ${m}`);
      this.refilter(true);
      this.say("note saved");
    } else if (
      message?.type === "reasked" ||
      (message?.type === "failed" && this.detail.again.get(this.asking)?.waiting)
    )
      this.detail.answered(message);
    else if (message?.type === "failed") this.say(message.text);
  }

  close() {
    this.detail.stop?.();
    this.list.watch.disconnect();
  }
}

/* ------------------------------------------------------------------------------------------------ entry points */

/** Unpack and show: the app, or null and a sentence in the page. */
async function open(root, bytes, python) {
  root.replaceChildren(h("p", { class: "empty" }, "Unpacking …"));
  try {
    const app = new Explorer(root, await unpack(bytes), python);
    requestAnimationFrame(() => setTimeout(() => performance.mark("llmhar-shown"))); // painted; tests/bench/explorer.py
    app.traces.warm();
    return app;
  } catch (error) {
    root.replaceChildren(
      h("p", { class: "empty trouble", role: "alert" }, `Cannot show these traces: ${error.message}`),
    );
    return null;
  }
}

/** The offline file: explorer.html.j2 calls this. */
async function openOffline() {
  const app = await open(
    document.getElementById("explorer"),
    fromBase64(document.getElementById("bundle").textContent.trim()),
    null,
  );
  if (app) document.addEventListener("keydown", (event) => app.key(event) && event.preventDefault());
}

/** The widget: anywidget calls this. */
function render({ model, el }) {
  // The attribute keeps JupyterLab's own shortcuts, whose listener hears keys first, away from keys pressed in here.
  const root = h("div", {
    class: "llmhar-explorer",
    tabindex: 0,
    "data-lm-suppress-shortcuts": "true",
    role: "region",
    "aria-label": "Explorer of reasoning traces",
  });
  el.append(root);
  const python = {
    send: (message) => model.send(message),
    reask: model.get("can_reask"),
    notes: model.get("can_note"),
    wordings: model.get("wordings"),
  };
  let app = null;
  const opening = open(root, model.get("packed"), python).then((opened) => (app = opened));
  root.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (app?.key(event)) event.preventDefault();
  });
  const hear = (message) => opening.then(() => app?.hear(message));
  model.on("msg:custom", hear);
  return () => {
    model.off("msg:custom", hear);
    app?.close();
  };
}

export default { render };
