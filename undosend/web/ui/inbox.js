// The development inbox: what has really left. A message is shown in a frame that runs and loads nothing.
import { exactly, facts, files, heading } from "./detail.js";
import { bare, copier, curl, empty, h, icon, put, titled, when } from "./dom.js";

export class Inbox {
	#shown;
	#chosen = "";

	constructor(app) {
		this.app = app;
		this.list = h("ul.rows");
		this.foot = h("div.foot");
		this.element = h("section.list", { label: "Inbox" }, h("header", h("h2", "Inbox"),
			copier(() => curl.line("GET", "/dev/inbox")), bare("bin", "Empty the inbox", () => app.attempt(async () => { await app.api.request("DELETE", "/dev/inbox"); app.go("inbox"); }))), this.list, this.foot);
		this.detail = h("article.detail");
	}

	async show(id) {
		const other = id !== this.#chosen;
		this.#chosen = id;
		if (other) put(this.detail);
		await this.load();
		if (id && other) await this.app.attempt(() => this.#open(id));
	}

	load() {
		return this.app.attempt(async () => {
			const { data } = await this.app.api.json("GET", "/dev/inbox?summary=1&limit=100"), ids = data.map((mail) => mail.id).join();
			if (ids !== this.#shown) {
				put(this.list, data.reverse().map((mail) => this.#row(mail)));
				put(this.foot, ids ? h("p.none", "Nothing leaves this machine.") : empty("Nothing has arrived", "In development all mail comes here by real SMTP.", ["GET", "/dev/inbox"]));
			}
			this.#shown = ids;
			for (const link of this.list.querySelectorAll("a")) link.ariaCurrent = link.hash === `#/inbox/${this.#chosen}` || null;
		});
	}

	#row(mail) {
		return h("li", h("article.row", { label: titled(mail.subject) }, h("span.sign", icon("inbox")), h("a", { href: `#/inbox/${mail.id}` },
			h("span.subject", { dir: "auto" }, titled(mail.subject)), h("span.who", `${mail.from ?? "nobody"} to ${mail.envelope.rcpt_to.join(", ")}`),
			h("span.stands", when(mail.received_at)))));
	}

	async #open(id) {
		const { api } = this.app, path = `/dev/inbox/${id}`, mail = await api.json("GET", path), shown = h("div.shown");
		if (this.#chosen !== id) return;
		const ways = {
			...(mail.html !== null && { HTML: () => h("iframe", { sandbox: "", src: `${api.base}${path}/html`, title: "The message's HTML", referrerpolicy: "no-referrer" }) }),
			...(mail.text !== null && { Text: () => h("div.text", { dir: "auto" }, mail.text) }),
			Headers: () => h("dl", mail.headers.map((one) => [h("dt", one.name), h("dd", one.value)])),
			Source: () => h("pre.source", { tabindex: 0 }, mail.raw.slice(0, 200_000)),
		};
		const choose = (name) => {
			put(shown, ways[name]());
			for (const tab of tabs.children) tab.ariaPressed = tab.textContent === name;
		};
		const tabs = h("div.bar.tabs", { role: "group", label: "Show as" }, Object.keys(ways).map((name) => h("button.plain", { onclick: () => choose(name) }, name)));
		put(this.detail, heading("inbox", mail.subject), facts({ From: mail.from, To: mail.to, "Delivered to": mail.envelope.rcpt_to, Arrived: exactly(mail.received_at) }),
			files(this.app, mail.attachments, async (_, n) => (await api.request("GET", `${path}/attachments/${n}`)).blob()), tabs, shown);
		choose(Object.keys(ways)[0]);
	}
}
