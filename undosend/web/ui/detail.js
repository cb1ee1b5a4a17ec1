// One email with all that is known of it.
import { ACTIVE } from "./undosend.js";
import { button, code, copier, curl, dialog, h, icon, octets, put, span, titled } from "./dom.js";
import { WORDS, acting, actions, sign, viewOf } from "./mail.js";

// Times to the second.
export const exactly = (at) => (at ? new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" }) : "");

// Save a blob as a file.
export function download(blob, name) {
  const href = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
  h("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

export class Detail {
   email = null;

  constructor(app) {
    this.app = app;
    this.element = h("article", { class: "detail" });
  }

  async show(id) {
    if (this.email?.id !== id) { this.email = null; put(this.element); }
    await this.app.attempt(async () => this.#draw(await this.app.api.get(id)));
  }

  seen(email) {
    if (email.id !== this.email?.id || email.version < this.email.version || !this.element.isConnected) return;
    if (email.version !== this.email.version) this.show(email.id);
  }

  tick() { this.element.querySelector(".sign")?.tick?.(); }

  async #draw(email) {
    this.email = email;
    const { app } = this, { id } = email, all = actions(app, email), act = document.activeElement?.getAttribute("data-act");
    const line = (name,  value) => value && value.length !== 0 && [h("dt", {}, name), h("dd", {}, Array.isArray(value) ? value.join(", ") : value)];
    const history = h("ol", { class: "history" });
    put(this.element,
      h("header", {}, h("a", { class: "back bare", href: `#/${viewOf(email.status)}`, "aria-label": "Back to the list" }, icon("back")), sign(email),
        h("div", {}, h("h2", { tabindex: -1 }, titled(email.subject)), h("p", { class: "pill", "data-status": email.status }, email.status === "held" && email.scheduled_at ? "Scheduled" : WORDS[email.status]))),
      h("div", { class: "bar" }, all.map((a) => acting(app, a, a.main ? { class: a.name === "undo" ? "main" : "soft" } : {})), button("code", "Raw", () => app.attempt(() => this.#raw(id)))),
      email.last_error && h("p", { class: "trouble", role: "status" }, email.last_error),
      email.may_have_been_delivered && !["sent", "partially_sent", "sending"].includes(email.status) && h("p", { class: "trouble" }, "It may have been delivered: the line broke in mid-message, and nobody can know."),
      h("dl", {}, line("From", email.from), line("To", email.to), line("Cc", email.cc), line("Bcc", email.bcc),
        line(email.sent_at ? "Sent" : "Leaves", ACTIVE.includes(email.status) || email.sent_at ? exactly(email.sent_at ?? email.release_at) : ""), line("Expires", email.expires_at && exactly(email.expires_at))),
      h("div", { class: "text" }, email.text ?? (email.html ? "This email has an HTML part only. Raw shows it." : email.raw ? "Another program wrote this message. Raw shows it." : "")),
      email.attachments.length > 0 && h("ul", { class: "files" }, email.attachments.map((file) => h("li", {}, icon("clip"), h("span", {}, file.filename), h("small", {}, octets(file.size)),
        button("down", `Download ${file.filename}`, () => app.attempt(async () => download(await app.api.file(id, file.id), file.filename)), { bare: true })))),
      email.recipients.length > 0 && [h("h3", {}, "Recipients"), h("ul", { class: "results" }, email.recipients.map((r) => h("li", { "data-status": r.status }, h("span", {}, r.address), h("b", {}, r.status), r.reply && h("small", {}, `${r.code ?? ""} ${r.reply}`.trim()))))],
      h("h3", {}, "History"), history,
      h("details", {}, h("summary", {}, "The same with curl"), [...all, { label: "History", method: "GET", path: `/v1/emails/${id}/events`, body: undefined }, { label: "Raw", method: "GET", path: `/v1/emails/${id}/raw`, body: undefined }]
        .map((a) => [h("h4", {}, a.label), code(() => curl.line(a.method, a.path, a.body))])));
    if (act)  (this.element.querySelector(`[data-act="${act}"]`) ?? this.element.querySelector("h2"))?.focus();
    const events = await app.api.history(id);
    if (this.email === email) put(history, events.map((e) => h("li", {}, h("time", { datetime: e.created_at, title: e.created_at }, exactly(e.created_at)), h("b", {}, e.type.replace(/^email\./, "").replaceAll("_", " ")), e.detail && h("small", {}, e.detail))));
  }

  async #raw(id) {
    const blob = await this.app.api.raw(id), text = await blob.slice(0, 200_000).text();
    dialog("Raw message", h("pre", { class: "source", tabindex: 0 }, text), h("footer", {}, copier(() => curl.line("GET", `/v1/emails/${id}/raw`)), button("down", "Download", () => download(blob, `${id}.eml`))));
  }
}
