// One email with all that is known of it.
import { ACTIVE } from "./undosend.js";
import { back, bare, button, code, copier, curl, dialog, fileRow, h, octets, put, titled } from "./dom.js";
import { WORDS, acting, actions, sign, viewOf } from "./mail.js";

export const exactly = (at) => (at ? new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" }) : "");

function download(blob, name) {
	const href = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
	h("a", { href, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

export const files = (app, all, get) => all.length > 0 && h("ul.files", all.map((file, n) => {
	const name = file.filename ?? "unnamed";
	return fileRow(name, h("small", octets(file.size)), bare("down", `Download ${name}`, () => app.attempt(async () => download(await get(file, n), name))));
}));

export const facts = (all) => h("dl", Object.entries(all).filter(([, value]) => value?.length).map(([name, value]) => [h("dt", name), h("dd", [value].flat().join(", "))]));

export const heading = (view, subject, ...more) => h("header", back(view), more[0],
	h("div", h("h2", { tabindex: -1, dir: "auto" }, titled(subject)), more[1]));

export class Detail {
	email = null;
	element = h("article.detail");

	constructor(app) { this.app = app; }

	async show(id) {
		if (this.email?.id !== id) { this.email = null; put(this.element); }
		await this.app.attempt(async () => {
			const email = await this.app.api.get(id);
			if (location.hash.endsWith(id) && !(email.version < this.email?.version)) await this.#draw(email);
		});
	}

	seen(email) {
		if (email.id === this.email?.id && email.version > this.email.version && this.element.isConnected) this.show(email.id);
	}

	tick() { this.element.querySelector(".sign")?.tick?.(); }

	async #draw(email) {
		this.email = email;
		const { app } = this, { id, status } = email, all = actions(app, email), act = document.activeElement?.getAttribute("data-act");
		const waits = ACTIVE.includes(status), history = h("ol.history");
		const lines = [...all, ...[["History", "events"], ["Raw", "raw"]].map(([label, what]) => ({ label, method: "GET", path: `/v1/emails/${id}/${what}` }))];
		put(this.element,
			heading(viewOf(status), email.subject, sign(email), h("p.pill", { "data-status": status }, status === "held" && email.scheduled_at ? "Scheduled" : WORDS[status])),
			h("div.bar", all.map((a) => acting(app, a, button, { class: a.name === "undo" ? "main" : ["edit", "reopen"].includes(a.name) ? "soft" : "plain" })), button("code", "Raw", () => app.attempt(() => this.#raw(id)))),
			email.last_error && h("p.trouble", { role: "status" }, email.last_error),
			email.may_have_been_delivered && !email.sent_at && status !== "sending" && h("p.trouble", "It may have been delivered: the line broke in mid-message."),
			facts({ From: email.from, To: email.to, Cc: email.cc, Bcc: email.bcc, Sent: exactly(email.sent_at), Leaves: waits && !email.sent_at && exactly(email.next_attempt_at ?? email.release_at), Expires: exactly(email.expires_at) }),
			h("div.text", { dir: "auto" }, email.text ?? (email.html || email.raw ? "No plain text here. Raw shows what there is." : "")),
			files(app, email.attachments, (file) => app.api.file(id, file.id)),
			email.recipients.length > 0 && [h("h3", "Recipients"), h("ul.results", email.recipients.map((r) => h("li", { "data-status": r.status }, h("span", r.address), h("b", r.status), r.reply && h("small", `${r.code ?? ""} ${r.reply}`.trim()))))],
			h("h3", "History"), history,
			h("details", h("summary", "The same with curl"), lines.map((a) => [h("h4", a.label), code(curl.line(a.method, a.path, a.body))])));
		if (act) (this.element.querySelector(`[data-act="${act}"]`) ?? this.element.querySelector("h2"))?.focus();
		const events = await app.api.history(id);
		put(history, events.map((e) => h("li", h("time", { datetime: e.created_at, title: e.created_at }, exactly(e.created_at)), h("b", e.type.replace(/^email\./, "").replaceAll("_", " ")), e.detail && h("small", e.detail))));
	}

	async #raw(id) {
		const blob = await this.app.api.raw(id), text = await blob.slice(0, 200_000).text();
		dialog("Raw message", h("pre.source", { tabindex: 0 }, text), h("footer", copier(() => curl.line("GET", `/v1/emails/${id}/raw`), button, "copy"), button("down", "Download", () => download(blob, `${id}.eml`))));
	}
}
