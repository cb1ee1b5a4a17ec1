// The outbox and its neighbours: rows named by their subject, and all that can be done to an email.
import { ACTIVE, clock, named, secondsLeft } from "./undosend.js";
import { bare, button, empty, h, icon, put, titled, when } from "./dom.js";

export const VIEWS = {
	outbox: { title: "Outbox", status: ACTIVE.join(","), empty: ["Nothing is waiting", "What you send rests here until it leaves, and Undo brings it back. Any program can send:",
		["POST", "/v1/emails", { from: "you@example.com", to: "bob@example.com", subject: "Hello", delay_seconds: 30 }], ["POST", "/v1/emails/em_…/undo"]] },
	drafts: { title: "Drafts", status: "draft", empty: ["No drafts", "Drafts save themselves while you write. Undone email comes back here, under its old id.",
		["POST", "/v1/emails", { draft: true, subject: "Hello" }]] },
	sent: { title: "Sent", status: "sent,partially_sent", empty: ["Nothing has left yet", "What the relay took, with its answer for each recipient.",
		["GET", "/v1/emails?status=sent"]] },
	unsent: { title: "Not sent", status: "failed,unknown,expired,canceled", empty: ["No trouble", "What failed, expired, was canceled or is uncertain is told here.",
		["GET", "/v1/emails?status=failed,unknown"]] },
	inbox: { title: "Inbox", status: "" },
};

export const viewOf = (status) => Object.keys(VIEWS).find((name) => VIEWS[name].status.split(",").includes(status)) ?? "outbox";

export const WORDS = { draft: "Draft", held: "Held", sending: "Being sent", retrying: "Trying again", sent: "Sent",
	partially_sent: "Partly sent", failed: "Failed", unknown: "Uncertain", expired: "Expired", canceled: "Canceled" };

function span(seconds) {
	const n = Math.ceil(seconds);
	if (n < 60) return `${n} s`;
	if (n < 3600) return clock(n);
	return n < 86_400 ? `${Math.round(n / 3600)} h` : `${Math.round(n / 86_400)} d`;
}

function people(email) {
	const all = [...email.to, ...email.cc, ...email.bcc].map(named);
	return all.length ? all.slice(0, 3).join(", ") + (all.length > 3 ? ` and ${all.length - 3} more` : "") : "no recipients yet";
}

function standing(email) {
	const left = secondsLeft(email);
	switch (email.status) {
		case "held": return email.scheduled_at ? `Leaves ${when(email.scheduled_at)}` : left ? `Undo for ${span(left)} more` : "Leaving…";
		case "draft": return `Edited ${when(email.updated_at)}`;
		case "retrying": return `Next try ${when(email.next_attempt_at)}`;
		case "sent": return when(email.sent_at);
		case "partially_sent": return `To ${email.recipients.filter((r) => r.status === "accepted").length} of ${email.recipients.length}`;
		default: return WORDS[email.status];
	}
}

// All that this key may do to the email, and how it is called.
export function actions(app, email) {
	const { api } = app, { id, status } = email, held = status === "held", waits = held || status === "retrying";
	const move = () => app.pick("Reschedule", async (scheduled_at) => app.seen(await api.edit(id, { scheduled_at })));
	const all = [
		["undo", waits && email.undo_status === "pending", "undo", "Undo", "undo", async () => app.compose(await api.undo(id))],
		["send", status === "draft", "edit", "Edit", "pen", () => app.go(`compose/${id}`), "PATCH", { subject: email.subject }],
		["send", held, "send-now", "Send now", "now", async () => app.seen(await api.sendNow(id))],
		["send", held, "move", "Reschedule", "clock", move, "PATCH", { scheduled_at: "2030-01-01T09:00:00+01:00" }],
		["undo", waits, "cancel", "Cancel", "stop", async () => app.seen(await api.cancel(id))],
		["send", viewOf(status) === "unsent", "reopen", "Edit again", "pen", async () => app.compose(await api.reopen(id))],
		["send", !ACTIVE.includes(status), "delete", "Delete", "bin", async () => { await api.remove(id); app.gone(id); }, "DELETE"],
	];
	return all.filter(([scope, possible]) => possible && app.may(scope)).map(([, , name, label, sign, run, method = "POST", body]) => (
		{ name, label, sign, run, method, path: `/v1/emails/${id}${method === "POST" ? `/${name}` : ""}`, body }));
}

export const acting = (app, action, make, more) => make(action.sign, action.label, async ({ currentTarget: pressed }) => {
	pressed.disabled = true;
	await app.attempt(action.run);
	pressed.disabled = false;
}, { "data-act": action.name, ...more });

// A ring that empties with the window, else an icon.
export function sign(email) {
	const { status } = email;
	if (status !== "held" || email.scheduled_at) return h("span.sign", icon(status === "held" ? "clock" : status === "partially_sent" ? "unsent" : viewOf(status)));
	const ring = h("span.sign.ring", { "aria-hidden": "true" }, h("span")), whole = (Date.parse(email.undo_until) - Date.parse(email.updated_at)) / 1000;
	ring.tick = () => {
		const left = secondsLeft(email);
		ring.style.setProperty("--part", Math.min(1, left / whole));
		put(ring.firstChild, span(left).replace(/ s$|\s/, "").replace(/:.*/, "m"));
	};
	ring.tick();
	return ring;
}

export class MailList {
	emails = [];
	view = "outbox";
	#query = "";
	#turn = 0;
	#after = null;
	#chosen = "";
	#due = false;
	#heard; // while a page is on its way

	constructor(app) {
		this.app = app;
		this.title = h("h2");
		this.search = h("input", { type: "search", placeholder: "Search", label: "Search subjects and addresses", oninput: () => { clearTimeout(this.wait); this.wait = setTimeout(() => this.load(), 250); } });
		this.list = h("ul.rows", { onkeydown: (e) => this.#step(e) });
		this.foot = h("div.foot");
		this.element = h("section.list", { label: "Emails" }, h("header", this.title, h("label.search", icon("search"), this.search)), this.list, this.foot);
	}

	async show(view, chosen) {
		if (view !== this.view) { this.search.value = ""; this.emails = []; this.loaded = false; }
		this.view = view;
		this.#chosen = chosen;
		put(this.title, VIEWS[view].title);
		this.#draw();
		await this.load();
	}

	async load(more = false) {
		const turn = ++this.#turn, heard = (this.#heard = []);
		this.#query = this.search.value.trim();
		await this.app.attempt(async () => {
			const page = await this.app.api.list({ status: VIEWS[this.view].status, limit: 50, q: this.#query, after: more && this.#after });
			if (turn !== this.#turn) return;
			this.emails = more ? [...this.emails, ...page.data] : page.data;
			this.#after = page.has_more ? page.after : null;
			this.loaded = true;
			this.#heard = null;
			for (const email of heard) this.seen(email);
			this.#draw();
		});
	}

	seen(email) {
		this.#heard?.push(email);
		const at = this.emails.findIndex((e) => e.id === email.id), fits = viewOf(email.status) === this.view;
		if (this.emails[at]?.version > email.version) return;
		if (at >= 0) this.emails.splice(at, 1, ...(fits ? [email] : []));
		// What is older comes with its page.
		else if (fits && !this.#query && (!this.#after || email.id > this.emails.at(-1)?.id)) this.emails = [email, ...this.emails].sort((a, b) => (a.id < b.id ? 1 : -1));
		this.#soon();
	}

	tick() {
		for (const row of this.list.querySelectorAll(".row")) row.tick();
	}

	#soon() {
		if (!this.#due) queueMicrotask(() => this.#draw());
		this.#due = true;
	}

	#draw() {
		this.#due = false;
		const focused = document.activeElement?.closest(".rows .row"), act = document.activeElement?.getAttribute("data-act");
		const old = new Map([...this.list.children].map((row) => [row.dataset.key, row]));
		const rows = this.emails.map((email) => old.get(`${email.id}.${email.version}`) ?? this.#row(email));
		if (rows.length !== old.size || rows.some((row, place) => row !== this.list.children[place])) put(this.list, rows);
		for (const row of rows) row.querySelector("a").ariaCurrent = row.dataset.id === this.#chosen || null;
		put(this.foot, !rows.length && this.loaded && (this.#query ? h("p.none", `Nothing here has “${this.#query}” in it.`) : empty(...VIEWS[this.view].empty)), this.#after && h("button.plain", { onclick: () => this.load(true) }, "Show more"));
		if (!focused || focused.contains(document.activeElement)) return;
		const again = this.list.querySelector(`[data-id="${focused.parentElement.dataset.id}"]`);
		((act && again?.querySelector(`[data-act="${act}"]`)) ?? (again ?? this.list).querySelector("a"))?.focus();
	}

	#row(email) {
		const where = email.status === "draft" && this.app.may("send") ? `#/compose/${email.id}` : `#/${this.view}/${email.id}`, ring = sign(email), stands = h("span.stands");
		const shown = actions(this.app, email).filter((a) => ["undo", "send-now", "reopen"].includes(a.name) || (a.name === "delete" && email.status === "draft"));
		const row = h("article.row", { "data-status": email.status, label: titled(email.subject) }, ring,
			h("a", { href: where }, h("span.subject", { dir: "auto" }, titled(email.subject)),
				h("span.who", email.attachments.length > 0 && icon("clip"), h("bdi", people(email))), stands),
			h("div.acts", shown.map((a) => acting(this.app, a, ...(a.name === "undo" ? [button, { class: "soft" }] : [bare])))));
		row.tick = () => {
			ring.tick?.();
			if (stands.textContent !== standing(email)) put(stands, standing(email));
		};
		row.tick();
		return h("li", { "data-key": `${email.id}.${email.version}`, "data-id": email.id }, row);
	}

	#step(e) {
		const by = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[e.key], links = [...this.list.querySelectorAll("a")];
		if (!by || e.ctrlKey || e.metaKey || e.altKey) return;
		e.preventDefault();
		links[links.indexOf(document.activeElement?.closest(".row")?.querySelector("a")) + by]?.focus();
	}
}
