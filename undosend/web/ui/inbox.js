// The development inbox: what has really left. A message is shown in a frame that runs and loads nothing.
import { download, exactly } from "./detail.js";
import { button, copier, curl, empty, h, icon, octets, put, titled, unique, when } from "./dom.js";

export class Inbox {
   entries = [];
  #chosen = "";

  constructor(app) {
    this.app = app;
    this.list = h("ul", { class: "rows" });
    this.foot = h("div", { class: "foot" });
    this.element = h("section", { class: "list", "aria-label": "Inbox" }, h("header", {}, h("h2", {}, "Inbox"),
      copier(() => curl.line("GET", "/dev/inbox"), "Copy as curl", true), button("bin", "Empty the inbox", () => app.attempt(() => this.#clear()), { bare: true })), this.list, this.foot);
    this.detail = h("article", { class: "detail" });
  }

  async show(id) {
    const other = id !== this.#chosen;
    this.#chosen = id;
    await this.load();
    if (id && other) await this.app.attempt(() => this.#open(id));
  }

  async load() {
    await this.app.attempt(async () => {
      const { data } = await this.app.api.json("GET", "/dev/inbox?summary=1&limit=100");
      if (this.foot.firstChild && data.map((e) => e.id).join() === this.entries.map((e) => e.id).reverse().join()) return this.#mark();
      this.entries = data.reverse();
      put(this.list, this.entries.map((entry) => this.#row(entry)));
      put(this.foot, this.entries.length ? h("p", { class: "none" }, "Only in development: nothing leaves this machine.") : empty("Nothing has arrived", "In development all mail goes by real SMTP into this inbox, and nowhere else.", curl.line("GET", "/dev/inbox")));
      this.#mark();
    });
  }

  async #clear() {
    await this.app.api.request("DELETE", "/dev/inbox");
    this.app.go("inbox");
    await this.load();
  }

  #mark() {
    for (const link of this.list.querySelectorAll("a")) link.toggleAttribute("aria-current", link.hash === `#/inbox/${this.#chosen}`);
  }

  #row(entry) {
    const id = unique();
    return h("li", {}, h("article", { class: "row", "aria-labelledby": id }, h("span", { class: "sign" }, icon("inbox")), h("a", { href: `#/inbox/${entry.id}` },
      h("span", { class: "subject", id }, titled(entry.subject)), h("span", { class: "who" }, `${entry.from ?? "nobody"} to ${entry.envelope.rcpt_to.join(", ")}`),
      h("span", { class: "stands" }, when(entry.received_at)))));
  }

  async #open(id) {
    const path = `/dev/inbox/${encodeURIComponent(id)}`, mail = await this.app.api.json("GET", path), shown = h("div", { class: "shown" });
    if (this.#chosen !== id) return;
    const ways = ({
      ...(mail.html !== null && { HTML: () => h("iframe", { sandbox: "", src: `${this.app.api.base}${path}/html`, title: "The message's HTML", referrerpolicy: "no-referrer" }) }),
      ...(mail.text !== null && { Text: () => h("div", { class: "text" }, mail.text) }),
      Headers: () => h("dl", { class: "headers" }, mail.headers.map((one) => [h("dt", {}, one.name), h("dd", {}, one.value)])),
      Source: () => h("pre", { class: "source", tabindex: 0 }, mail.raw.slice(0, 200_000)),
    });
    const choose = (name) => {
      put(shown, ways[name]());
      for (const tab of tabs.children) tab.setAttribute("aria-pressed", `${tab.textContent === name}`);
    };
    const tabs = h("div", { class: "tabs", role: "group", "aria-label": "Show as" }, Object.keys(ways).map((name) => h("button", { onclick: () => choose(name) }, name)));
    const save = (n,  name) => this.app.attempt(async () => download(await (await this.app.api.request("GET", `${path}/attachments/${n}`)).blob(), name));
    put(this.detail, h("header", {}, h("a", { class: "back bare", href: "#/inbox", "aria-label": "Back to the list" }, icon("back")), h("div", {}, h("h2", { tabindex: -1 }, titled(mail.subject)))),
      h("dl", {}, ["From", mail.from, "To", mail.to, "Delivered to", mail.envelope.rcpt_to.join(", "), "Arrived", exactly(mail.received_at)].map((value, n) => h(n % 2 ? "dd" : "dt", {}, value ?? "–"))),
      mail.attachments.length > 0 && h("ul", { class: "files" }, mail.attachments.map((file,  n) => h("li", {}, icon("clip"), h("span", {}, file.filename ?? "unnamed"), h("small", {}, octets(file.size)),
        button("down", `Download ${file.filename ?? "unnamed"}`, () => save(n, file.filename ?? "unnamed"), { bare: true })))), tabs, shown);
    choose(Object.keys(ways)[0]);
  }
}
