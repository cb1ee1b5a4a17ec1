// The page: who is signed in, what is shown, what goes on.
import { ACTIVE, Undosend, UndosendError } from "./undosend.js";
import { UndoToast } from "./undo-toast.js";
import { Composer } from "./compose.js";
import { Detail } from "./detail.js";
import { bare, curl, dialog, h, icon, mark, put } from "./dom.js";
import { door } from "./door.js";
import { Inbox } from "./inbox.js";
import { pickTime } from "./later.js";
import { MailList, VIEWS } from "./mail.js";

const CONNECTION = { connecting: "Connecting…", live: "Live", polling: "Up to date", offline: "No connection", denied: "No access" };
const WRITING = { c: "write an email", "Ctrl Enter": "send", z: "undo the last send" };
const KEYS = { "/": "search", "j k": "next, previous", Esc: "back to the list", "?": "this" };
const wide = matchMedia("(min-width: 60rem)");

class App {
	api = new Undosend();
	session = {};
	notice = h("div.notice", { role: "alert" });
	#active = new Set();
	#known = new Map(); // the newest versions
	#view = "outbox";
	#turn = 0;
	#toList;
	#stop;

	start() {
		return this.attempt(async () => {
			const { account } = this.session;
			this.session = await this.api.session();
			if (account && account !== this.session.account) return location.assign("."); // what is here is another's
			const { keys_required: keys, signed_in: known, scopes } = this.session;
			curl.key = keys;
			if (!keys || (known && scopes.includes("read"))) this.#open();
			else this.#door(known ? "This key may not read. With the scopes read, send and undo the page can do everything." : null);
		});
	}

	may(scope) { return this.session.scopes.includes(scope); }

	// What was being written waits behind the door.
	#door(words) {
		this.#stop?.();
		this.#stop = null;
		door(this, words);
	}

	#open() {
		this.#stop?.();
		this.list = new MailList(this);
		this.inbox = new Inbox(this);
		this.detail = new Detail(this);
		this.composer ??= new Composer(this);
		this.composer.settle();
		this.composer.save();
		this.blank = this.may("send") ? this.composer.element : h("div.detail", h("p.hint", "Choose an email to see all of it."));
		this.status = h("p.connection", { role: "status" });
		this.left = h("div.left");
		this.pane = h("div.pane");
		this.count = h("b");
		this.nav = h("nav", { label: "Views" }, Object.entries(VIEWS).map(([name, view]) => this.#has(name) && h("a", { href: `#/${name}` }, icon(name), h("span", view.title), name === "outbox" && this.count)));
		const out = () => this.attempt(async () => { await this.api.signOut(); location.assign("."); });
		put(document.body,
			h("header.side", h("h1.brand", h("a", { href: "#/outbox" }, mark(), "undosend")), this.may("send") && h("a.main.write", { href: "#/compose" }, icon("pen"), "Write"), this.nav,
				h("div.links", this.status, h("a", { href: "docs/" }, "API"), h("a", { href: "problems" }, "Problems"), h("button.help", { onclick: () => this.#help() }, "Shortcuts"),
					this.session.keys_required && h("button", { onclick: out }, "Sign out"))),
			h("main", this.left, this.pane), this.notice);
		this.#listen();
		if (!location.hash.startsWith("#/")) history.replaceState(null, "", wide.matches && this.may("send") ? "#/compose" : "#/outbox");
		this.#route();
	}

	#listen() {
		const open = new AbortController(), on = (target, type, act) => target.addEventListener(type, act, { signal: open.signal });
		on(window, "hashchange", () => this.#route());
		on(wide, "change", () => this.#route());
		on(document, "undosend:undone", (e) => this.compose(e.detail));
		on(document, "keydown", (e) => this.#key(e));
		on(document, "visibilitychange", () => document.hidden && this.composer.save());
		const ticks = setInterval(() => { this.list.tick(); this.detail.tick(); }, 250), looks = setInterval(() => this.#view === "inbox" && !document.hidden && this.inbox.load(), 3000);
		const unwatch = this.api.watch(this);
		this.#stop = () => { open.abort(); clearInterval(ticks); clearInterval(looks); unwatch(); };
	}

	connection(state) {
		this.status.dataset.state = state;
		put(this.status, CONNECTION[state]);
		if (state === "denied") this.denied();
	}

	denied() { return this.attempt(() => this.api.list({ limit: 1 })); }

	go(path, toList) {
		this.#toList = toList;
		if (location.hash === `#/${path}`) this.#route();
		else location.hash = `#/${path}`;
	}

	async #route() {
		const turn = ++this.#turn, toList = this.#toList, before = document.activeElement;
		this.#toList = false;
		const [, view = "outbox", id = ""] = location.hash.split("/"), writing = view === "compose" && this.may("send");
		if (!writing) this.#view = this.#has(view) ? view : "outbox";
		for (const link of this.nav.children) link.ariaCurrent = (link.hash === `#/${this.#view}` && (!writing || wide.matches)) || null;
		document.body.dataset.pane = !!(writing || id);
		const inbox = this.#view === "inbox", reads = id && !writing;
		const list = inbox ? this.inbox : this.list, shown = !reads ? this.blank : inbox ? this.inbox.detail : this.detail.element;
		if (this.left.firstChild !== list.element) put(this.left, list.element);
		if (this.pane.firstChild !== shown) { put(this.pane, shown); this.pane.scrollTop = 0; }
		this.#name();
		if (writing && id && id !== this.composer.id) await this.attempt(async () => {
			const email = await this.api.get(id);
			if (turn !== this.#turn) return;
			if (email.status === "draft") await this.composer.open(email);
			else this.go(`outbox/${id}`);
		});
		else if (writing) { if (!id && this.composer.id) await this.composer.open(); else this.composer.stay(); }
		if (inbox) await this.inbox.show(reads ? id : "");
		else await Promise.all([this.list.show(this.#view, id), reads && this.detail.show(id)]);
		// Only now is it there; whoever has gone on meanwhile stays there.
		const first = reads ? !shown.contains(before) && shown.querySelector("h2") : toList && list.list.querySelector("a");
		if (first && turn === this.#turn && [before, document.body].includes(document.activeElement)) first.focus();
	}

	#has(view) { return view in VIEWS && (view !== "inbox" || this.session.dev); }

	#name() {
		const n = this.#active.size;
		this.count.textContent = n || "";
		document.title = `${n ? `(${n}) ` : ""}${VIEWS[this.#view].title} · undosend`;
	}

	seen(email) {
		if (email.version < this.#known.get(email.id)) return;
		this.#known.set(email.id, email.version);
		this.#active[ACTIVE.includes(email.status) ? "add" : "delete"](email.id);
		this.list.seen(email);
		this.detail.seen(email);
		this.#name();
	}

	gone(id) {
		this.#active.delete(id);
		this.#known.set(id, Infinity);
		this.list.seen({ id, status: "" });
		this.#name();
		if (this.detail.email?.id === id && location.hash.endsWith(id)) this.go(this.#view);
	}

	sent(email) {
		UndoToast.watch(email, { client: this.api });
		this.seen(email);
		this.go("outbox", true);
	}

	async compose(draft) {
		this.seen(draft);
		if (!this.may("send")) return this.go(`drafts/${draft.id}`);
		if (draft.version < this.#known.get(draft.id) || (await this.composer.open(draft))) this.go(`compose/${draft.id}`);
	}

	renamed(id) {
		if (location.hash.startsWith("#/compose")) history.replaceState(null, "", `#/compose/${id}`);
	}

	// Do it, or say why not.
	async attempt(act) {
		const stop = this.#stop;
		try {
			await act();
		} catch (error) {
			if (!(error instanceof UndosendError)) throw error;
			// A late one takes no typed key away, and shuts nobody out again.
			if (error.status === 401) return stop !== null && stop === this.#stop && this.#door("Sign in again.");
			this.tell(error.message, error.problem.title);
		}
	}

	tell(words, title) {
		if (!this.notice.isConnected) document.body.append(this.notice);
		clearTimeout(this.fades);
		put(this.notice, h("div", h("b", title), h("p", words)), bare("x", "Dismiss", () => put(this.notice)));
		this.fades = setTimeout(() => put(this.notice), 9000);
	}

	pick(title, use) { pickTime(title, this.session.max_delay_seconds, use); }

	#help() { dialog("Shortcuts", h("dl", Object.entries({ ...(this.may("send") && WRITING), ...KEYS }).map(([keys, words]) => [h("dt", keys.split(" ").map((key) => h("kbd", key))), h("dd", words)]))); }

	#key(e) {
		const at = e.composedPath()[0];
		if (document.querySelector("dialog[open]") || e.defaultPrevented) return;
		if (e.key === "Escape" && !at.closest?.("undo-toast")) {
			at.blur();
			return this.go(this.#view, true);
		}
		if (at.matches?.("input, textarea, select") || e.altKey || ((e.ctrlKey || e.metaKey) && e.key !== "z")) return;
		const act = { c: this.may("send") && (() => this.go("compose")), "/": () => this.list.search.focus(), z: () => [...document.querySelectorAll("undo-toast")].findLast((toast) => toast.email?.undo_status === "pending")?.undo(), "?": () => this.#help() }[e.key];
		if (!act) return;
		e.preventDefault();
		act();
	}
}

new App().start();
