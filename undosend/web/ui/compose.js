// The composer: writes a draft, saves it while one types, and hands it over.
import { UndosendError } from "./undosend.js";
import { back, bare, button, copier, curl, fileRow, h, icon, lasting, octets, put, unique, when, wrong } from "./dom.js";
import { Chips, Field } from "./fields.js";

const QUIET = 700, LONGEST = 4000;
const DELAYS = [0, 5, 10, 20, 30, 60, 120, 300, 900, 3600];
const FROM = "undosend.from", DELAY = "undosend.delay";

export class Composer {
	id = "";
	#version = 0;
	#kept = {}; // as the server has it
	#asked = null; // the save of which is not known what came
	#turns = Promise.resolve(); // one thing after the other
	#quiet;
	#since = 0;
	#key = unique();
	#held = false;
	#waits = 0; // turns that are not over
	#goal; // what was last asked for in its place

	constructor(app) {
		this.app = app;
		const changed = () => this.#changed();
		const to = new Chips("To", changed), from = new Field("From", changed, { list: "c-senders", inputmode: "email" });
		this.fields = { from, to, cc: new Chips("Cc", changed, to), bcc: new Chips("Bcc", changed, to), subject: new Field("Subject", changed) };
		this.text = h("textarea", { id: "c-text", dir: "auto", oninput: changed, label: "Text", placeholder: "Write in haste; there is time to think again.", "aria-describedby": "c-text-wrong" });
		this.state = h("p.state");
		this.title = h("h2");
		this.bar = h("div.conflict", { role: "alert" });
		this.wrong = wrong("c-text-wrong");
		this.note = h("p.hint");
		this.files = h("ul.files", { "aria-live": "polite" });
		this.picker = h("input", { type: "file", multiple: true, hidden: true, onchange: () => { this.#attach([...this.picker.files]); this.picker.value = ""; } });
		// Not to be able to undo is for once.
		this.delay = h("select", { onchange: () => { if (this.delay.value > 0) localStorage[DELAY] = this.delay.value; } });
		this.senders = h("datalist", { id: "c-senders" });
		this.sender = h("button.main.send", { onclick: () => this.send(), title: "Ctrl+Enter" }, "Send");
		const lit = (now) => this.element.classList.toggle("over", now), given = (e, data) => { if (data?.files.length) { e.preventDefault(); this.#attach([...data.files]); } };
		this.element = h("section.composer", {
			label: "Composer",
			onkeydown: (e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); this.send(); } },
			onpaste: (e) => given(e, e.clipboardData),
			ondrop: (e) => { lit(false); given(e, e.dataTransfer); },
			ondragover: (e) => { if (e.dataTransfer?.types.includes("Files")) { e.preventDefault(); lit(true); } },
			ondragleave: (e) => this.element.contains(e.relatedTarget) || lit(false),
		},
		h("header", back("outbox"), this.title, this.state), this.bar,
		Object.values(this.fields).map((field) => field.element), this.senders, this.text, this.note, this.files, this.wrong, this.picker,
		h("footer", this.sender, h("label.delay", h("span", "Undo for"), this.delay), button("clock", "Send later", () => app.pick("Send later", (scheduled_at) => this.send({ scheduled_at }))),
			bare("clip", "Attach files", () => this.picker.click()), copier(() => this.curl()), bare("bin", "Discard draft", () => this.discard())));
		this.settle();
		this.show();
	}

	settle() {
		const { senders, dev, default_delay_seconds: usual, max_delay_seconds: most } = this.app.session, last = +localStorage[DELAY];
		const delays = [...new Set([...DELAYS, usual])].filter((s) => s <= most).sort((a, b) => a - b), addresses = senders?.filter((s) => /^[^@]+@/.test(s)) ?? [];
		put(this.delay, delays.map((s) => h("option", { value: s }, s ? lasting(s) : "not at all")));
		this.delay.value = delays.includes(last) && last ? last : usual;
		put(this.senders, addresses.map((s) => h("option", { value: s })));
		this.usual = addresses[0] || (dev ? "you@example.com" : "");
	}

	// Go on with the draft, or a new email; what was written stays a draft.
	async open(draft) {
		const left = await this.#leave();
		if (left) { this.show(draft); if (document.activeElement.type !== "search") this.focus(); }
		else this.app.renamed(this.id);
		return left;
	}

	stay() {
		this.#goal = null;
		this.focus();
	}

	focus() {
		const { to, subject } = this.fields;
		(to.empty ? to.input : subject.input.value ? this.text : subject.input).focus();
	}

	// True once nothing is left to do here, nothing else is asked for and no time picked.
	async #leave(goal = (this.#goal = {})) {
		this.#take();
		if (this.#held) await this.#keep();
		const saved = await this.save();
		this.#take();
		if (goal !== this.#goal || document.querySelector(".pick")) return false;
		if (saved && (this.#waits || this.#changes())) return this.#leave(goal);
		if (!saved) this.app.tell("It is not saved yet, so it stays here.", "Not saved");
		else clearTimeout(this.#quiet);
		return saved;
	}

	// Which draft is written on.
	#on(draft) {
		this.id = draft?.id ?? "";
		this.#version = draft?.version;
		this.#key = unique();
		this.#held = false;
		this.#asked = null;
		put(this.bar);
		put(this.files, draft?.attachments.map((file) => this.#file(file)));
	}

	show(email) {
		this.#on(email);
		this.#since = 0;
		for (const [name, field] of Object.entries(this.fields)) field.value = email?.[name];
		if (email) this.app.renamed(email.id);
		else this.fields.from.value = localStorage[FROM] || this.usual;
		this.text.value = email?.text ?? "";
		for (const input of [this.fields.from.input, this.fields.subject.input, this.text]) input.disabled = !!email?.raw;
		put(this.title, email ? "Draft" : "New email");
		put(this.note, email?.raw ? "Another program wrote this. It can be sent as it is." : email?.html && "Its HTML part stays as it is.");
		put(this.wrong);
		this.#say(email ? `Saved ${when(email.updated_at)}` : "");
		this.#kept = this.#parts(); // a From of our own is nothing to save
	}

	// What can be saved; what is marked as wrong cannot.
	#parts() {
		const { from, ...parts } = Object.fromEntries(Object.entries(this.fields).map(([name, field]) => [name, field.value]));
		return { from: from === "" ? null : from, ...parts, text: this.text.value || (this.note.textContent ? null : "") };
	}

	#changes(parts = this.#parts(), before = this.#kept) {
		const changes = Object.entries(parts).filter(([name, value]) => value !== undefined && JSON.stringify(value) !== JSON.stringify(before[name]));
		return changes.length > 0 && Object.fromEntries(changes);
	}

	#changed() {
		this.#since ||= performance.now();
		this.#key = unique();
		this.#say("Not saved yet");
		clearTimeout(this.#quiet);
		this.#quiet = setTimeout(() => this.save(), Math.min(QUIET, this.#since + LONGEST - performance.now()));
	}

	#next(act) {
		this.#waits++;
		return (this.#turns = this.#turns.then(act, act).finally(() => this.#waits--));
	}

	// Bring the server up to date; true where it is.
	save() { return this.#next(() => this.#save()); }

	async #save(whole = false) {
		clearTimeout(this.#quiet);
		if (this.#held) return false;
		const parts = this.#parts(), changes = whole ? parts : this.#changes(), { api } = this.app;
		this.#since = 0;
		if (!changes && !this.#asked) {
			this.#say(this.id ? this.#saved() : "");
			return true;
		}
		this.#say("Saving…");
		// A first save is repeated as it was: a lost answer would make a second draft.
		const first = !this.id, asked = (this.#asked ??= { parts, key: unique() });
		try {
			const email = first ? await api.draft(asked.parts, { key: asked.key }) : await api.edit(this.id, changes || {}, { version: this.#version });
			this.id = email.id;
			this.#version = email.version;
			this.#kept = first ? asked.parts : { ...this.#kept, ...changes };
			this.#asked = null;
			if (first) { put(this.title, "Draft"); this.app.renamed(email.id); }
			this.app.seen(email);
			put(this.wrong);
			this.#say(this.#saved(email.updated_at));
			return !first || asked.parts === parts || this.#save();
		} catch (error) {
			if (!(error instanceof UndosendError)) throw error;
			if (!error.unclear && error.status !== 412) this.#asked = null;
			if (this.#mark(error)) return this.#save(whole);
			await this.#failed(error);
			return false;
		}
	}

	#saved(at) { return this.#bad ? "Saved, but for what is marked" : `Saved ${when(at)}`.trim(); }

	async #failed(error) {
		if (error.unclear) {
			this.#say("No connection. Trying again");
			this.#quiet = setTimeout(() => this.save(), 3000);
			return;
		}
		this.#say("Not saved");
		if ([404, 409, 412].includes(error.status)) return this.app.attempt(async () => this.#elsewhere(error.status === 404 ? null : await this.app.api.get(this.id)));
		if (error.status === 401) return this.app.denied();
		if (error.status !== 422) put(this.wrong, error.message);
	}

	// Somebody else was faster; nothing of theirs or of ours is lost.
	#elsewhere(email) {
		const now = () => this.app.api.get(this.id), draft = email?.status === "draft", asked = this.#asked?.parts;
		this.#asked = null;
		if (draft && asked && !this.#changes(asked, email)) { // it was we, and the answer was lost
			this.#version = email.version;
			this.#kept = asked;
			return this.#save();
		}
		const choices = draft ? {
			"Take theirs": async () => { this.show(await now()); this.focus(); },
			"Keep mine": async () => this.#keep(await now()),
		} : {
			"Keep my text as a new draft": () => this.#keep(),
			...(email && { "Show it": () => { this.show(); this.app.go(`outbox/${email.id}`); } }),
		};
		this.#held = true;
		put(this.bar, h("p", `This ${draft ? "draft was changed" : email ? "email was sent" : "draft was deleted"} in another tab.`),
			Object.entries(choices).map(([name, act]) => h("button.soft", { onclick: () => this.app.attempt(act) }, name)));
	}

	// What is written here goes over the draft as it now is, or into a new one.
	async #keep(draft) {
		this.#on(draft);
		this.focus();
		await this.#next(() => this.#save(true));
	}

	get #bad() { return Object.values(this.fields).some((field) => field.bad); }

	// Show each error at its field; true where the rest can be saved without those fields.
	#mark(error) {
		const errors = error.code === "sender_not_allowed" ? [{ pointer: "/from", detail: error.message }] : error.errors, others = [];
		let left = 0;
		// The last first: what is marked is counted no more.
		for (const { pointer, detail } of [...errors].sort((a, b) => b.pointer.localeCompare(a.pointer, "en", { numeric: true }))) {
			const [, name, place] = pointer.split("/"), field = this.fields[name];
			if (!field) others.push(detail);
			else if (field.mark(detail, place)) left += 1;
		}
		put(this.wrong, others.join(" "));
		return left > 0 && left === errors.length;
	}

	#say(words) { put(this.state, words); }

	#attach(files, key) {
		for (const file of files) {
			const row = fileRow(file.name, h("progress", { label: `Attaching ${file.name}` }), h("small", { "aria-hidden": "true" }));
			this.files.append(row);
			this.#next(() => this.#upload(file, row, key));
		}
	}

	async #upload(file, row, key = unique()) {
		if (!row.parentNode) return this.app.tell(`${file.name} came after its email had gone. Attach it again.`, "Not attached");
		try {
			if (!(await this.#save(!this.id))) throw new Error("Not attached: the draft is not saved.");
			const onprogress = (part) => { row.querySelector("progress").value = part; put(row.lastChild, `${Math.floor(part * 100)} %`); };
			const attach = () => this.app.api.attach(this.id, file, { version: this.#version, key, onprogress });
			const done = await attach().catch((error) => { if (!error.unclear) throw error; return attach(); });
			this.#version = done.version;
			row.replaceWith(this.#file(done.file));
		} catch (error) {
			if (error.status === 412) await this.#failed(error);
			const large = error.code === "too_large";
			row.className = "failed";
			put(row, icon("unsent"), h("span", file.name), h("small", large ? "Too large: at most 18 MiB a file, 25 MiB an email." : error.message),
				!large && h("button.soft", { onclick: () => { row.remove(); this.#attach([file], key); } }, "Try again"), bare("x", `Remove ${file.name}`, () => this.#off(row)));
		}
	}

	#off(row) {
		row.remove();
		this.text.focus();
	}

	#file(file) {
		const row = fileRow(file.filename, h("small", octets(file.size)), bare("x", `Remove ${file.filename}`, () => this.#next(() => this.app.attempt(async () => {
			this.#version = await this.app.api.detach(this.id, file.id, { version: this.#version });
			this.#off(row);
		}))));
		return row;
	}

	curl() {
		this.#take();
		const delay_seconds = +this.delay.value, parts = Object.entries(this.#parts()).filter(([, value]) => value?.length);
		return this.id && this.files.children.length ? curl.line("POST", `/v1/emails/${this.id}/send`, { delay_seconds }) : curl.line("POST", "/v1/emails", { ...Object.fromEntries(parts), delay_seconds });
	}

	#take() { for (const field of Object.values(this.fields)) field.take?.(); }
	#still(on) { for (const input of this.element.querySelectorAll("input, textarea")) input.readOnly = on; }

	async send(timing = { delay_seconds: +this.delay.value }) {
		if (this.sender.disabled) return;
		this.#goal = null;
		this.sender.disabled = true;
		put(this.sender, this.files.querySelector("progress") ? "Attaching…" : "Sending…");
		try {
			await this.#next(() => { this.#take(); this.#still(true); return this.#send(timing); });
		} finally {
			this.#still(this.sender.disabled = false);
			if (this.id) this.#goal = null; // its error is to be seen
			put(this.sender, "Send");
		}
	}

	async #send(timing) {
		const point = () => this.element.querySelector("[aria-invalid]")?.focus();
		if (this.files.querySelector(".failed")) return put(this.wrong, "A file could not be attached. Try again, or remove it.");
		if (this.#bad || !(await this.#save(!this.id)) || this.#bad) return point();
		try {
			const email = await this.app.api.sendDraft(this.id, timing, { version: this.#version, key: this.#key });
			if (email.from) localStorage[FROM] = email.from;
			this.settle();
			this.show();
			this.app.sent(email);
		} catch (error) {
			if (!(error instanceof UndosendError)) throw error;
			if (error.unclear) put(this.wrong, "No answer. Send again: it will not be sent twice.");
			else if (error.status === 422 || error.code === "sender_not_allowed") { this.#mark(error); point(); }
			else await this.#failed(error);
		}
	}

	discard() {
		const place = location.hash;
		this.#goal = null;
		this.#next(() => this.app.attempt(async () => {
			if (this.#asked) await this.#save();
			if (this.#asked) return; // it may be there
			if (this.id) { await this.app.api.remove(this.id); this.app.gone(this.id); }
			const here = [place, `#/compose/${this.id}`].includes(location.hash);
			this.show();
			if (here && !this.#goal) this.app.go("drafts");
		}));
	}
}
