// @ts-check
/**
 * <undo-toast>: "Sending to Bob in 7 s", and Undo. One module that any page can load:
 *
 *     <script type="module" src="https://mail.example.com/ui/undo-toast.js"></script>
 *     <undo-toast base="https://mail.example.com" token="…" email-id="em_…"></undo-toast>
 *
 * or `UndoToast.watch(email, { token })`. It floats and stacks; with the attribute `inline` it stays where it stands.
 * It shows what the server says, and calls nothing undone that was not. What it emits and takes: README.md.
 */
import { Undosend, UndosendError, clock, named, secondsLeft } from "./undosend.js";

const STRINGS = {
	waiting: "Looking for the email…",
	held: "Sending to {who} in {time}",
	scheduled: "Will be sent to {who} {when}",
	sending: "Sending to {who}…",
	retrying: "Not delivered yet: next try {when}",
	sent: "Sent to {who}",
	partly: "Sent, but not to everybody",
	failed: "Could not be sent to {who}",
	unknown: "May have been delivered; nobody can know",
	expired: "Expired before it could be sent",
	canceled: "Canceled, not sent",
	undone: "Undone. It was not sent",
	late: "Too late to undo: it has been sent",
	lateLeaving: "Too late to undo: it is being sent",
	lateUnknown: "Cannot be undone: it may have been delivered",
	gone: "This email cannot be found",
	offline: "No connection. The server keeps to its time",
	doubt: "No answer: not known yet whether it is undone",
	denied: "Cannot follow it: the token has ended, or may not read",
	notUndone: "Not undone. Try again",
	notNow: "Not sent at once. Try again",
	undo: "Undo", undoing: "Undoing…", sendNow: "Send now", close: "Dismiss",
	label: "Email on its way: {subject}",
	possible: "Undo is possible.",
	more: "{who} and {n} more", seconds: "{n}\u00a0s", spoken: "{n} seconds", nobody: "nobody", noSubject: "(no subject)",
};
const KEEP = ["failed", "partly", "unknown", "late", "gone", "retrying", "expired"], PENDING = ["held", "scheduled", "leaving", "retrying"];

const SHEET = new CSSStyleSheet();
SHEET.replaceSync(`
:host { --_ink: var(--undo-toast-color, #f4f6f5);
	--_accent: var(--undo-toast-accent, #7fdccb); --_soft: var(--undo-toast-soft, #b4c0c0); --_inset: var(--undo-toast-inset, 1rem);
	position: fixed; z-index: 2147483000; inset-block-end: calc(var(--_inset) + var(--_lift, 0px)); inset-inline-start: var(--_inset);
	box-sizing: border-box; width: min(34rem, calc(100vw - 2 * var(--_inset))); display: block; transition: inset-block-end .2s;
	font: .9375rem/1.4 var(--undo-toast-font, system-ui, sans-serif); color: var(--_ink); text-align: start }
:host([inline]) { position: static; width: auto }
:host([hidden]) { display: none }
* { box-sizing: border-box; margin: 0 }
.toast { display: flex; flex-wrap: wrap; align-items: center; gap: 0 .75rem; min-height: 3.5rem; padding: .5rem .5rem .5rem .875rem;
	background: var(--undo-toast-background, light-dark(#1f2a2c, #2b3336)); border: 1px solid #ffffff1a; border-radius: var(--undo-toast-radius, .875rem);
	box-shadow: 0 .5rem 1.75rem #0003, 0 1px 3px #0003; animation: come .22s ease-out }
.ring { flex: none; width: 2rem; height: 2rem; fill: none; stroke: var(--_accent); stroke-width: 2.5; stroke-linecap: round; stroke-linejoin: round }
.ring circle { stroke: #ffffff29; stroke-width: 3 }
.ring .left { stroke: inherit; transform: rotate(-90deg); transform-origin: center; transition: stroke-dashoffset .25s linear }
.bad .ring { stroke: #ffb4a6 }
.words { flex: 1 1 11rem; min-width: 0; overflow-wrap: anywhere; text-wrap: balance }
.message { font-weight: 500; font-variant-numeric: tabular-nums }
.detail { font-size: .8125rem; color: var(--_soft); overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.detail.wrap { white-space: normal }
.actions { display: flex; flex: none; align-items: center; gap: .125rem; margin-inline-start: auto }
button { font: inherit; font-weight: 600; color: var(--_soft); background: none; border: 0; border-radius: .5rem; min-height: 2.5rem;
	padding: 0 .625rem; cursor: pointer; white-space: nowrap }
button:hover { background: #ffffff1a; color: var(--_ink) }
:focus-visible { outline: 2px solid var(--_accent); outline-offset: -2px }
button[disabled] { cursor: default; opacity: .7 }
.undo, .undo:hover { color: var(--_accent) }
.close { padding: 0; width: 2.25rem; font-weight: 400; font-size: 1.25rem; line-height: 1 }
[hidden] { display: none !important }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
@keyframes come { from { opacity: 0; transform: translateY(.75rem) } }
@media (prefers-reduced-motion: reduce) { :host, .ring .left { transition: none } .toast { animation: none } }
@media (forced-colors: active) { .toast { border-color: CanvasText } .ring circle { stroke: GrayText } .toast .ring { stroke: Highlight } }
`);

const stack = new Set(), clients = new Map();
const resized = new ResizeObserver(arrange);

/** Stack the toasts, the newest lowest; those for which the window has no room wait. */
function arrange() {
	let lift = 0;
	for (const toast of [...stack].reverse()) {
		toast.style.setProperty("--_lift", `${lift}px`);
		toast.hidden = lift > 0 && lift > innerHeight - 120;
		if (!toast.hidden) lift += toast.offsetHeight + 8;
	}
}

export class UndoToast extends HTMLElement {
	static observedAttributes = ["base", "token", "email-id"];
	/** What all toasts say; replace it to say it in another language. */
	static strings = STRINGS;

	/** Show a toast for an email that was just sent. token: a browser token for it; client: an Undosend in its place;
	 * strings: what it says differently; parent: where it is put. @returns {UndoToast} */
	static watch(email, { base, token, client, strings, parent = document.body } = {}) {
		const toast = new UndoToast();
		Object.assign(toast, { client, strings, email });
		for (const [name, value] of Object.entries({ base, token, "email-id": email.id })) if (value) toast.setAttribute(name, value);
		parent.append(toast);
		return toast;
	}

	client;
	strings;
	#email = null;
	#stop = null;
	#ticks;
	#asked = {}; // what was asked last, whether busy with it, what refused it, whether that leaves a doubt
	#line = "connecting";
	#window = 0;
	#still = 0; // since when it has had nothing to say
	#told = "";
	#parts;

	constructor() {
		super();
		const root = this.attachShadow({ mode: "open" });
		root.adoptedStyleSheets = [SHEET];
		const p = (this.#parts = parts(root));
		p.undo.onclick = () => this.undo();
		p.now.onclick = () => this.sendNow();
		p.close.onclick = () => this.close();
		this.addEventListener("keydown", (e) => {
			if (!((e.ctrlKey || e.metaKey) && !e.shiftKey && e.key.toLowerCase() === "z")) return;
			e.preventDefault();
			e.stopPropagation();
			this.undo();
		});
	}

	get email() { return this.#email; }
	set email(email) {
		this.#email = email;
		if (email) this.#window = Math.max(this.#window, secondsLeft(email), 1);
		if (this.isConnected) this.#render();
	}

	connectedCallback() {
		if (!this.hasAttribute("inline")) stack.add(this);
		resized.observe(this);
		this.#watch();
		this.#ticks = setInterval(() => this.#render(), 250);
	}

	disconnectedCallback() {
		stack.delete(this);
		resized.unobserve(this);
		this.#stop?.();
		clearInterval(this.#ticks);
		arrange();
	}

	attributeChangedCallback(name, before, now) {
		if (before === now || !this.isConnected) return;
		if (name === "email-id" && now !== this.#email?.id) this.#forget();
		this.#watch();
	}

	/** Ask for the undo. @returns {Promise<Email|null>} the draft, null where it did not happen */
	async undo() {
		const draft = await this.#ask("undo");
		if (draft) this.#undone(draft);
		return draft;
	}

	/** Release it at once; undo works until it really leaves. */
	async sendNow() {
		const email = await this.#ask("sendNow");
		if (email) this.#seen(email);
	}

	/** Go away; what happens to the email is not changed. */
	close() {
		this.#emit("closed", this.#email);
		this.remove();
	}

	get state() {
		const email = this.#email;
		if (!email) return this.#told === "gone" ? "gone" : "waiting";
		if (this.#asked.what === "undo" && ["too_late", "delivery_uncertain"].includes(this.#asked.refused?.code)) return "late";
		if (email.status === "held") {
			const left = secondsLeft(email);
			return left > 3600 ? "scheduled" : left > 0 ? "held" : "leaving";
		}
		if (email.status === "retrying" && email.uncertain) return "unknown";
		if (email.status === "draft") return email.undo_status ? "undone" : "waiting";
		return email.status === "partially_sent" ? "partly" : email.status;
	}

	get #words() { return { ...STRINGS, ...UndoToast.strings, ...this.strings }; }
	get #pending() { return PENDING.includes(this.state) && this.#email?.undo_status === "pending"; }

	#forget() {
		this.#email = null;
		this.#asked = {};
		this.#window = 0;
		this.#told = "";
	}

	#watch() {
		this.#stop?.();
		const id = this.getAttribute("email-id");
		if (!id) return;
		const client = this.#client();
		if (!client.scopes) client.session?.().then(() => this.#render(), () => {});
		this.#stop = client.watch({
			id,
			seen: (email) => this.#seen(email),
			gone: () => { this.#forget(); this.#told = "gone"; this.#render(); },
			connection: (state) => { this.#line = state; this.#render(); },
		});
		this.#render();
	}

	#client() {
		if (this.client) return this.client;
		const base = this.getAttribute("base") ?? undefined, token = this.getAttribute("token") ?? undefined;
		const name = `${base} ${token}`;
		if (!clients.has(name)) clients.set(name, new Undosend({ base, token }));
		return clients.get(name);
	}

	async #ask(what) {
		if (this.#asked.busy || !this.#pending) return null;
		const asked = (this.#asked = { what, busy: true }), client = this.#client(), { id } = this.#email;
		this.#render();
		try {
			return await client[what](id);
		} catch (error) {
			if (!(error instanceof UndosendError)) throw error;
			asked.refused = error;
			asked.doubt = error.unclear;
			this.#emit("error", error);
			// How it stands says the server; an undo whose answer was lost may have been one.
			client.get(id).then((email) => this.#seen(email), () => {});
			return null;
		} finally {
			asked.busy = false;
			this.#render();
		}
	}

	#seen(email) {
		if (email.id !== this.getAttribute("email-id") || email.version < this.#email?.version) return;
		const before = this.#email?.status, asked = this.#asked;
		if (email.version > this.#email?.version && email.undo_status === "pending") asked.refused = null; // a refusal of the relay made it possible again
		if (email.status === "draft" && asked.what === "undo") {
			if (asked.busy) return; // its own answer comes
			if (asked.doubt) return this.#undone(email);
		}
		asked.doubt = false;
		this.email = email;
		if (this.state === "undone") this.#stop?.(); // sent again, it is another toast's
		const sent = ["sent", "partially_sent"];
		if (before && sent.includes(email.status) && !sent.includes(before)) this.#emit("sent", email);
	}

	#undone(draft) {
		if (draft.id === this.#email?.id) {
			this.#asked = {};
			this.email = draft;
			this.#stop?.();
		}
		this.#emit("undone", draft);
	}

	#emit(type, detail) {
		this.dispatchEvent(new CustomEvent(`undosend:${type}`, { detail, bubbles: true, composed: true }));
	}

	/** Go once there is nothing more to say, and nobody reads it. */
	#mayLeave(state) {
		const now = performance.now(), read = this.hasAttribute("inline") || this.matches(":hover") || this.shadowRoot.querySelector(":focus-visible");
		if (read || !["sent", "undone", "canceled", "scheduled"].includes(state) || state !== this.#told) this.#still = now;
		else if (now - this.#still > (state === "scheduled" ? 12_000 : 5000)) this.close();
	}

	#say(template, more = {}) {
		const email = this.#email, words = this.#words;
		const [first = words.nobody, ...others] = email ? [...email.to, ...email.cc, ...email.bcc].map(named) : [];
		const who = others.length ? fill(words.more, { who: first, n: others.length }) : first;
		const at = email?.next_attempt_at ?? email?.release_at;
		return fill(template, { who, when: at ? moment(at) : "", subject: email?.subject || words.noSubject, ...more });
	}

	#render() {
		const state = this.state, email = this.#email, p = this.#parts, words = this.#words, { what, busy, refused } = this.#asked, { scopes } = this.#client();
		const left = email ? secondsLeft(email) : 0, n = Math.ceil(left);
		const time = n < 60 ? fill(words.seconds, { n }) : clock(n);
		const late = refused?.code === "delivery_uncertain" || email?.status === "unknown" ? words.lateUnknown : (refused?.problem.email_status ?? email?.status) === "sending" ? words.lateLeaving : words.late;
		const template = state === "late" ? late : words[state] ?? words.sending;
		text(p.message, this.#say(template, { time }));
		text(p.detail, this.#detail(state));
		const pending = this.#pending, bad = KEEP.includes(state);
		p.detail.classList.toggle("wrap", bad || !!refused);
		// Not before it is known to be allowed; undo, which cannot wait, until it is known not to be.
		p.undo.hidden = !pending || scopes?.includes("undo") === false;
		p.now.hidden = !pending || !scopes?.includes("send") || state === "leaving" || state === "retrying";
		p.undo.disabled = p.now.disabled = !!busy;
		text(p.undo, busy && what === "undo" ? words.undoing : words.undo);
		text(p.now, words.sendNow);
		p.close.ariaLabel = words.close;
		p.toast.ariaLabel = this.#say(words.label);
		p.toast.className = `toast ${state}${bad ? " bad" : ""}`;
		const part = state === "held" ? left / this.#window : ["sending", "leaving"].includes(state) ? 0 : 1;
		p.arc.setAttribute("stroke-dashoffset", `${1 - part}`);
		p.icon.setAttribute("d", ICONS[state] ?? (bad ? WARNING : ICONS.undo));
		if (this.shadowRoot.activeElement?.hidden) p.toast.focus();
		this.#mayLeave(state);
		if (state !== this.#told && !(this.#told === "gone" && state === "waiting")) {
			this.#told = state;
			const spoken = this.#say(template, { time: n < 60 ? fill(words.spoken, { n }) : time });
			text(p.said, `${spoken}. ${pending && !p.undo.hidden ? words.possible : this.#detail(state)}`);
			this.dataset.state = state;
		}
	}

	#detail(state) {
		const words = this.#words, email = this.#email, { what, refused, doubt } = this.#asked;
		if (doubt && what === "undo" && this.#line === "offline") return words.doubt;
		if (refused && PENDING.includes(state)) return [401, 403, 429].includes(refused.status) ? refused.message : what === "undo" ? words.notUndone : words.notNow;
		if (!["undone", "sent"].includes(state) && words[this.#line]) return words[this.#line];
		if (["failed", "retrying", "unknown"].includes(state) && email?.last_error) return email.last_error;
		if (state === "partly") return email?.recipients.filter((r) => r.status !== "accepted").map((r) => r.address).join(", ") ?? "";
		return email ? email.subject || words.noSubject : "";
	}
}

const WARNING = "M16 10v7M16 21.5v.1", CLOCK = "M16 10v6.5l4 2.5", ARROW = "M11 16h10m-4-4 4 4-4 4";
const ICONS = { undo: "M14 12.5 10.5 16l3.5 3.5M11 16h7a4 4 0 0 1 0 8", sent: "m10.5 16.5 4 4 8-8.5", retrying: CLOCK, scheduled: CLOCK, sending: ARROW, leaving: ARROW };

function made(tag, attributes = {}, ...children) {
	const element = document.createElementNS(`http://www.w3.org/${["svg", "circle", "path"].includes(tag) ? "2000/svg" : "1999/xhtml"}`, tag);
	for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
	element.append(...children);
	return element;
}

function parts(root) {
	const part = (tag, name, more) => made(tag, { part: name, class: name.split(" ").at(-1), ...more });
	const pressed = (name) => part("button", `button ${name}`, { type: "button" });
	const circle = { cx: 16, cy: 16, r: 14 }, arc = made("circle", { ...circle, class: "left", pathLength: 1, "stroke-dasharray": 1 }), icon = made("path");
	const ring = made("svg", { part: "ring", class: "ring", viewBox: "0 0 32 32", "aria-hidden": "true" }, made("circle", circle), arc, icon);
	const toast = part("div", "toast", { role: "region", tabindex: -1 }), message = part("p", "message"), detail = part("p", "detail");
	const undo = pressed("undo"), now = pressed("send-now"), close = pressed("close"), said = made("p", { role: "status", class: "said" });
	close.textContent = "×";
	toast.append(ring, made("div", { class: "words" }, message, detail), made("div", { class: "actions" }, undo, now, close));
	root.append(toast, said);
	return { toast, arc, icon, message, detail, undo, now, close, said };
}

// Only where it is another: who listens hears each change.
function text(element, words) {
	if (element.textContent !== words) element.textContent = words;
}
const fill = (template, values) => template.replace(/\{(\w+)\}/g, (all, name) => `${values[name] ?? all}`);
function moment(at) {
	const when = new Date(at), soon = Math.abs(+when - Date.now()) < 64_800_000;
	return when.toLocaleString(document.documentElement.lang || [], { dateStyle: soon ? undefined : "medium", timeStyle: "short" });
}

if (!customElements.get("undo-toast")) customElements.define("undo-toast", UndoToast);
