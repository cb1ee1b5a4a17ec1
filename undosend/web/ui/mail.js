// The outbox and its neighbours: rows named by their subject, and all that can be done to an email.
import { ACTIVE, secondsLeft } from "./undosend.js";
import { button, curl, empty, h, icon, people, put, span, titled, unique, when } from "./dom.js";

const HELLO = { from: "you@example.com", to: "bob@example.com", subject: "Hello", text: "In haste.", delay_seconds: 30 };
export const VIEWS = ({
  outbox: { title: "Outbox", sign: "out", status: ACTIVE.join(","), empty: () => empty("Nothing is waiting", "What you send rests here until it leaves, and Undo brings it back. Any program can send:",
    curl.line("POST", "/v1/emails", HELLO), curl.line("POST", "/v1/emails/em_…/undo")) },
  drafts: { title: "Drafts", sign: "draft", status: "draft", empty: () => empty("No drafts", "Drafts save themselves while you write. Undone email comes back here, under its old id.",
    curl.line("POST", "/v1/emails", { draft: true, subject: "Hello" })) },
  sent: { title: "Sent", sign: "sent", status: "sent,partially_sent", empty: () => empty("Nothing has left yet", "What the relay took is listed here, with its answer for each recipient.",
    curl.line("GET", "/v1/emails?status=sent")) },
  unsent: { title: "Not sent", sign: "unsent", status: "failed,unknown,expired,canceled", empty: () => empty("No trouble", "What failed, expired, was canceled or is uncertain would be told here. Nothing just vanishes.",
    curl.line("GET", "/v1/emails?status=failed,unknown")) },
});

export const viewOf = (status) => Object.keys(VIEWS).find((name) => VIEWS[name].status.split(",").includes(status)) ?? "outbox";

export const WORDS = ({ draft: "Draft", held: "Held", sending: "Being sent", retrying: "Trying again", sent: "Sent",
  partially_sent: "Partly sent", failed: "Failed", unknown: "Uncertain", expired: "Expired", canceled: "Canceled" });

function standing(email) {
  switch (email.status) {
    case "held": return email.scheduled_at ? `Scheduled for ${when(email.scheduled_at)}` : secondsLeft(email) ? `Undo for ${span(secondsLeft(email))}${secondsLeft(email) < 100 ? " s" : ""} more` : "Leaving…";
    case "draft": return `Edited ${when(email.updated_at)}`;
    case "retrying": return `Next try ${when(email.next_attempt_at)}`;
    case "sent": return when(email.sent_at);
    case "partially_sent": return `To ${email.recipients.filter((r) => r.status === "accepted").length} of ${email.recipients.length}`;
    default: return WORDS[email.status];
  }
}

// Everything that can be done to the email as it stands.
export function actions(app, email) {
  const { api } = app, { id, status } = email, path = `/v1/emails/${id}`, waits = ["held", "retrying"].includes(status);

  const all = [
    waits && email.undo_status === "pending" && { name: "undo", label: "Undo", sign: "undo", method: "POST", path: `${path}/undo`, main: true,
      run: async () => app.compose(await api.undo(id)) },
    status === "draft" && { name: "edit", label: "Edit", sign: "pen", method: "PATCH", path, body: { subject: email.subject }, main: true, run: () => app.go(`compose/${id}`) },
    status === "held" && { name: "now", label: "Send now", sign: "now", method: "POST", path: `${path}/send-now`, run: async () => app.seen(await api.sendNow(id)) },
    status === "held" && { name: "move", label: "Reschedule", sign: "clock", method: "PATCH", path, body: { scheduled_at: "2030-01-01T09:00:00+01:00" },
      run: async () => (await import("./later.js")).pickTime("Reschedule", app.session.max_delay_seconds, async (scheduled_at) => app.seen(await api.reschedule(id, { scheduled_at }))) },
    waits && { name: "cancel", label: "Cancel", sign: "stop", method: "POST", path: `${path}/cancel`, run: async () => app.seen(await api.cancel(id)) },
    ["failed", "unknown", "expired", "canceled"].includes(status) && { name: "reopen", label: "Edit again", sign: "pen", method: "POST", path: `${path}/reopen`, main: true,
      run: async () => app.compose(await api.reopen(id)) },
    !ACTIVE.includes(status) && { name: "delete", label: "Delete", sign: "bin", method: "DELETE", path,
      run: async () => { await api.remove(id); app.gone(id); } },
  ];
  return  (all.filter(Boolean));
}

export const acting = (app, action, more) => button(action.sign, action.label, async (e) => {
  const pressed = (e.currentTarget);
  pressed.disabled = true;
  await app.attempt(action.run);
  pressed.disabled = false;
}, { "data-act": action.name, ...more });

const windows = new Map();

export function sign(email) {
  if (email.status !== "held" || email.scheduled_at) return h("span", { class: "sign" }, icon(email.status === "held" ? "clock" : VIEWS[viewOf(email.status)].sign));
  const ring = h("span", { class: "sign ring" }, h("span", {}));
  const tick = () => {
    const left = secondsLeft(email), key = `${email.id}.${email.version}`, whole = Math.max(windows.get(key) ?? 1, left);
    windows.set(key, whole);
    ring.style.setProperty("--part", `${left / whole}`);
    ring.firstChild.textContent = span(left);
  };
  ring.tick = tick;
  tick();
  return ring;
}

export class MailList {
   emails = [];
  view = "outbox";
  #query = "";
  #turn = 0;
   #after = null;
  #chosen = "";

  constructor(app) {
    this.app = app;
    this.title = h("h2", {});
    this.search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search subjects and addresses", oninput: () => { clearTimeout(this.wait); this.wait = setTimeout(() => this.load(), 250); } });
    this.list = h("ul", { class: "rows" });
    this.foot = h("div", { class: "foot" });
    this.element = h("section", { class: "list", "aria-label": "Emails" }, h("header", {}, this.title, h("label", { class: "search" }, icon("search"), this.search)), this.list, this.foot);
    this.list.addEventListener("keydown", (e) => this.#step(e));
  }

  async show(view, chosen) {
    const other = view !== this.view;
    this.view = view;
    this.#chosen = chosen;
    this.title.textContent = VIEWS[view].title;
    if (other) { this.search.value = ""; this.emails = []; put(this.list); }
    this.#draw();
    await this.load();
  }

  async load(more = false) {
    const turn = ++this.#turn;
    this.#query = this.search.value.trim();
    await this.app.attempt(async () => {
      const page = await this.app.api.list({ status: VIEWS[this.view].status, limit: 50, q: this.#query, after: (more && this.#after) || "" });
      if (turn !== this.#turn) return;
      this.emails = more ? [...this.emails, ...page.data] : page.data;
      this.#after = page.has_more ? page.after : null;
      this.loaded = true;
      this.#draw();
    });
  }

  seen(email) {
    const at = this.emails.findIndex((e) => e.id === email.id), fits = VIEWS[this.view].status.split(",").includes(email.status);
    if (at >= 0 && fits && this.emails[at].version > email.version) return;
    if (at >= 0) this.emails.splice(at, 1, ...(fits ? [email] : []));
    else if (fits && !this.#query) this.emails = [email, ...this.emails].sort((a, b) => (a.id < b.id ? 1 : -1));
    this.#draw();
  }

  gone(id) {
    this.emails = this.emails.filter((email) => email.id !== id);
    this.#draw();
  }

  tick() {
    for (const row of this.list.querySelectorAll(".row")) row.tick?.();
  }

  #draw() {
    const focused = (document.activeElement?.closest(".rows .row")), act = document.activeElement?.getAttribute("data-act");
    const old = new Map([...this.list.querySelectorAll("li")].map((row) => [row.dataset.key, row]));
    const nothing = this.#query ? h("p", { class: "none" }, `Nothing here has “${this.#query}” in it.`) : VIEWS[this.view].empty();
    const rows = this.emails.map((email) => old.get(`${email.id}.${email.version}`) ?? this.#row(email));
    put(this.list, rows);
    for (const row of rows) row.querySelector("a").toggleAttribute("aria-current", row.dataset.id === this.#chosen);
    put(this.foot, !rows.length && this.loaded && nothing, this.#after && button("down", "Show more", () => this.load(true)));
    if (!focused || focused.isConnected && focused.contains(document.activeElement)) return;
    const again = this.list.querySelector(`[data-id="${focused.dataset.id}"]`);
     (again?.querySelector(act ? `[data-act="${act}"]` : "a") ?? again?.querySelector("a") ?? this.list.querySelector("a"))?.focus();
  }

  #row(email) {
    const id = unique(), where = email.status === "draft" ? `#/compose/${email.id}` : `#/${this.view}/${email.id}`, ring = sign(email);
    const stands = h("span", { class: "stands" }, standing(email));
    const shown = actions(this.app, email).filter((a) => ["undo", "now", "reopen"].includes(a.name) || (a.name === "delete" && email.status === "draft"));
    const row = h("article", { class: "row", "data-status": email.status, "data-id": email.id, "aria-labelledby": id }, ring,
      h("a", { href: where }, h("span", { class: "subject", id }, titled(email.subject)),
        h("span", { class: "who" }, email.attachments.length > 0 && icon("clip"), people(email)), stands),
      h("div", { class: "acts" }, shown.map((a) => acting(this.app, a, { bare: a.name !== "undo", class: a.name === "undo" ? "soft" : "bare" }))));
    row.tick = () => { ring.tick?.(); if (email.status === "held") { const now = standing(email); if (stands.textContent !== now) stands.textContent = now; } };
    return h("li", { "data-key": `${email.id}.${email.version}`, "data-id": email.id }, row);
  }

  // Arrows and j, k walk the rows.
  #step(e) {
    const by = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[e.key], links = [...this.list.querySelectorAll("a")];
    if (!by || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    links[links.indexOf(document.activeElement?.closest(".row")?.querySelector("a")) + by]?.focus();
  }

  focus() {  (this.list.querySelector("a"))?.focus(); }
}
