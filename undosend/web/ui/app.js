// The page: who is signed in, what is shown, what goes on.
import { ACTIVE, Undosend, UndosendError } from "./undosend.js";
import { UndoToast } from "./undo-toast.js";
import { Composer } from "./compose.js";
import { button, curl, h, icon, put } from "./dom.js";
import { MailList, VIEWS } from "./mail.js";

const CONNECTION = { connecting: "Connecting…", live: "Live", polling: "Up to date", offline: "No connection" };
const wide = matchMedia("(min-width: 60rem)");

export class App {
  api = new Undosend();
   session = {};
   #active = new Set();
  #view = "outbox";
  #running = false;
  #turn = 0;

  async start() {
    await this.attempt(async () => {
      this.session = await this.api.session();
      curl.key = this.session.keys_required;
      if (this.session.keys_required && !this.session.signed_in) this.#door();
      else this.#open();
    });
  }

  async #door(words = "") {
    this.#stop?.();
    this.#running = false;
    (await import("./door.js")).door(this, words);
  }

  // The house.

  #open() {
    this.list = new MailList(this);
    this.composer = new Composer(this);
    this.composer.settle();
    this.composer.fresh(false);
    this.status = h("p", { class: "connection", "data-state": "connecting" }, CONNECTION.connecting);
    this.left = h("div", { class: "left" });
    this.pane = h("div", { class: "pane" });
    this.notice = h("div", { class: "notice", role: "alert" });
    const views = [...Object.entries(VIEWS), ...(this.session.dev ? [["inbox", { title: "Inbox", sign: "inbox" }]] : [])];
    this.nav = h("nav", { "aria-label": "Views" }, views.map(([name, view]) => h("a", { href: `#/${name}` }, icon(view.sign), h("span", {}, view.title), name === "outbox" && (this.count = h("b", {})))));
    put(document.body, h("header", { class: "side" }, h("h1", { class: "brand" }, h("a", { href: "#/outbox" }, mark(), "undosend")), h("a", { class: "main write", href: "#/compose" }, icon("pen"), h("span", {}, "Write")), this.nav,
      h("div", { class: "links" }, this.status, h("a", { href: "docs/" }, "API"), h("a", { href: "problems" }, "Problems"), h("button", { onclick: () => this.#help() }, "Shortcuts"),
        this.session.keys_required && h("button", { onclick: () => this.attempt(async () => { await this.api.signOut(); this.start(); }) }, "Sign out"))),
      h("main", {}, this.left, this.pane), this.notice);
    this.#stop = this.api.watch({ seen: (email) => this.seen(email), gone: (id) => this.gone(id), connection: (now) => { this.status.dataset.state = now; put(this.status, CONNECTION[now]); } });
    if (!this.#running) this.#listen();
    this.#running = true;
    if (!location.hash.startsWith("#/")) history.replaceState(null, "", wide.matches ? "#/compose" : "#/outbox");
    this.#route();
  }

   #stop;

  #listen() {
    const open = new AbortController(), { signal } = open;
    const stop = this.#stop;
    this.#stop = () => { open.abort(); stop?.(); };
    addEventListener("hashchange", () => this.#route(), { signal });
    wide.addEventListener("change", () => this.#route(), { signal });
    document.addEventListener("undosend:undone", (e) => this.compose((e).detail), { signal });
    document.addEventListener("keydown", (e) => this.#key(e), { signal });
    const ticks = setInterval(() => { this.list.tick(); this.detail?.tick(); }, 250), looks = setInterval(() => this.#view === "inbox" && !document.hidden && this.inbox?.load(), 3000);
    signal.addEventListener("abort", () => { clearInterval(ticks); clearInterval(looks); });
  }

  go(path) {
    if (location.hash === `#/${path}`) this.#route();
    else location.hash = `#/${path}`;
  }

  async #route() {
    const turn = ++this.#turn;
    const [, view = "outbox", id = ""] = location.hash.split("/").map(decodeURIComponent), writing = view === "compose";
    if (!writing) this.#view = view === "inbox" && this.session.dev ? view : view in VIEWS ? view : "outbox";
    for (const link of this.nav.children) link.toggleAttribute("aria-current", link.hash === `#/${this.#view}` && !(writing && !wide.matches));
    document.body.dataset.pane = `${Boolean(writing || id)}`;
    const inbox = this.#view === "inbox";
    // What most visits never open is loaded when it is.
    if (inbox) this.inbox ??= new (await import("./inbox.js")).Inbox(this);
    else if (id && !writing) this.detail ??= new (await import("./detail.js")).Detail(this);
    if (turn !== this.#turn) return;
    const list = inbox ? this.inbox : this.list, shows = id && !writing ? (inbox ? this.inbox.detail : this.detail.element) : this.composer.element;
    if (this.left.firstChild !== list.element) put(this.left, list.element);
    if (this.pane.firstChild !== shows) { put(this.pane, shows); this.pane.scrollTop = 0; }
    this.#name();
    if (writing && id && id !== this.composer.id) await this.attempt(async () => {
      const email = await this.api.get(id);
      if (email.status === "draft") await this.composer.open(email);
      else this.go(`outbox/${id}`);
    });
    else if (writing && !id) { if (this.composer.id) await this.composer.fresh(); else this.composer.focus(); }
    if (inbox) await this.inbox.show(writing ? "" : id);
    else await Promise.all([this.list.show(this.#view, id), id && !writing && this.detail.show(id)]);
    if (id && !writing && !shows.contains(document.activeElement)) shows.querySelector("h2")?.focus();
  }

  #name() {
    const n = this.#active.size;
    this.count.textContent = n || "";
    document.title = `${n ? `(${n}) ` : ""}${this.#view === "inbox" ? "Inbox" : VIEWS[this.#view].title} · undosend`;
  }

  // What happens to emails.

  seen(email) {
    if (ACTIVE.includes(email.status)) this.#active.add(email.id);
    else this.#active.delete(email.id);
    this.list.seen(email);
    this.detail?.seen(email);
    this.#name();
  }

  gone(id) {
    this.#active.delete(id);
    this.list.gone(id);
    this.#name();
    if (this.detail?.email?.id === id && location.hash.endsWith(id)) this.go(this.#view);
  }

  sent(email) {
    UndoToast.watch(email, { client: this.api });
    this.#view = "outbox";
    this.composer.fresh(false);
    this.seen(email);
    this.go("outbox");
    setTimeout(() => this.list.focus());
  }

  // Write on.
  async compose(draft) {
    this.seen(draft);
    await this.composer.open(draft);
    this.go(`compose/${draft.id}`);
    this.composer.focus();
  }

  renamed(id) {
    if (location.hash.startsWith("#/compose")) history.replaceState(null, "", `#/compose/${id}`);
  }

  // Do it, or say why not.
  async attempt(act) {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof UndosendError)) throw error;
      if (error.status === 401) return this.#door(this.#running ? "Sign in again." : "");
      this.tell(error.message, error.problem.title);
    }
  }

  tell(words, title) {
    if (!this.notice) put(document.body, (this.notice = h("div", { class: "notice", role: "alert" })));
    clearTimeout(this.fades);
    put(this.notice, h("div", {}, title && h("b", {}, title), h("p", {}, words)), button("x", "Dismiss", () => put(this.notice), { bare: true }));
    this.fades = setTimeout(() => put(this.notice), 9000);
  }

  // Keys.

  async #help() { (await import("./shortcuts.js")).shortcuts(); }

  #key(e) {
    const at = (e.composedPath()[0]);
    if (document.querySelector("dialog[open]") || e.defaultPrevented) return;
    if (e.key === "Escape" && document.body.dataset.pane === "true" && !at.closest?.("undo-toast")) {
      at.blur();
      this.go(this.#view);
      return setTimeout(() => this.list.focus());
    }
    const writes = at.matches?.("input, textarea, select"), mod = e.ctrlKey || e.metaKey;
    if (writes || e.altKey || (mod && e.key !== "z")) return;
    const act = { c: () => this.go("compose"), "/": () => this.list.search.focus(), z: () => this.#undo(), "?": () => this.#help() }[e.key];
    if (!act) return;
    e.preventDefault();
    act();
  }

  #undo() {
    const toasts = ([...document.querySelectorAll("undo-toast")]);
    toasts.reverse().find((toast) => toast.email?.undo_status === "pending")?.undo();
  }
}

export const mark = () => h("img", { src: new URL("mark.svg", import.meta.url).href, alt: "", class: "mark" });

new App().start();
