// The composer: writes a draft, saves it while one types, and hands it over.
import { UndosendError } from "./undosend.js";
import { addresses, button, copier, curl, h, icon, lasting, named, octets, put, unique, when } from "./dom.js";

const QUIET = 700, LONGEST = 4000, PEOPLE = ["to", "cc", "bcc"];
const DELAYS = [0, 5, 10, 20, 30, 60, 120, 300, 900, 3600];
const FROM = "undosend.from", DELAY = "undosend.delay";

// A field of addresses, each a chip.
class Chips {
   all = [];

  constructor(label, changed) {
    const id = unique();
    this.changed = changed;
    this.input = h("input", { id, type: "text", autocomplete: "off", spellcheck: "false", inputmode: "email", autocapitalize: "none" });
    this.list = h("ul", { class: "chips" });
    this.wrong = h("p", { class: "wrong", id: `${id}w`, role: "alert" });
    this.input.setAttribute("aria-describedby", `${id}w`);
    this.more = h("span", { class: "more" });
    this.element = h("div", { class: "field" }, h("label", { htmlFor: id }, label), h("div", { class: "holds", onclick: (e) => e.target === e.currentTarget && this.input.focus() }, this.list, this.input), this.more, this.wrong);
    this.input.addEventListener("keydown", (e) => this.#key(e));
    this.input.addEventListener("input", () => { if (/[,;\n]\s*$/.test(this.input.value) && !/"[^"]*$/.test(this.input.value)) this.take(); else this.changed(); });
    this.input.addEventListener("blur", () => this.take());
    this.input.addEventListener("paste", (e) => {
      const found = addresses(e.clipboardData?.getData("text") ?? "");
      if (found.length < 2) return;
      e.preventDefault();
      this.input.value = `${this.input.value} ${found.shift()}`.trim();
      this.take();
      this.#add(found);
    });
  }

  get value() { return this.all.filter((chip) => !chip.wrong).map((chip) => chip.text); }
  set value(texts) { this.all = texts.map((text) => ({ text, wrong: "" })); this.#draw(); }
  get empty() { return !this.all.length && !this.input.value.trim(); }

  // Make what was typed a chip.
  take() {
    const typed = addresses(this.input.value);
    this.input.value = "";
    if (typed.length) this.#add(typed);
  }

  mark(place, wrong) {
    const chip = this.all.filter((one) => !one.wrong)[place];
    if (chip) chip.wrong = wrong;
    else this.said = wrong;
    return chip;
  }

  // Show what was marked.
  tell(wrong = "") {
    const bad = this.all.filter((chip) => chip.wrong);
    put(this.wrong, wrong || bad.map((chip) => `${chip.text}: ${chip.wrong}`).join(" "));
    this.input.toggleAttribute("aria-invalid", Boolean(wrong || bad.length));
    this.#draw();
  }

  #add(texts) {
    const known = new Set(this.all.map((chip) => chip.text.toLowerCase()));
    this.all.push(...texts.filter((text) => !known.has(text.toLowerCase())).map((text) => ({ text, wrong: "" })));
    this.tell();
    this.changed();
  }

  #remove(place, edit) {
    const [chip] = this.all.splice(place, 1);
    if (edit) { this.take(); this.input.value = chip.text; }
    this.tell();
    this.changed();
    this.input.focus();
  }

  #key(e) {
    if (e.isComposing || e.ctrlKey || e.metaKey) return;
    if (e.key === "Enter" && this.input.value.trim()) { e.preventDefault(); this.take(); }
    else if (e.key === "Backspace" && !this.input.value && this.all.length) { e.preventDefault(); this.#remove(this.all.length - 1, true); }
  }

  #draw() {
    put(this.list, this.all.map((chip, place) => h("li", { class: chip.wrong ? "bad" : "", title: chip.text },
      h("button", { onclick: () => this.#remove(place, true), "aria-label": `Edit ${chip.text}` }, chip.wrong ? chip.text : named(chip.text)),
      h("button", { class: "off", onclick: () => this.#remove(place), "aria-label": `Remove ${chip.text}` }, "×"))));
  }
}

export class Composer {
  id = "";
  #version = 0;
   #kept = {};
   #turns = Promise.resolve();
   #quiet;
  #since = 0;
  #key = unique();
  #uploads = 0;
  #held = false;

  constructor(app) {
    this.app = app;
    const changed = () => this.#changed(), input = (name,  more = {}) => h("input", { id: `c-${name}`, type: "text", autocomplete: "off", oninput: changed, "aria-describedby": `c-${name}-wrong`, ...more });
    const field = (name,  label,  control) => h("div", { class: "field" }, h("label", { htmlFor: `c-${name}` }, label), control, h("p", { class: "wrong", id: `c-${name}-wrong`, role: "alert" }));
    this.from = input("from", { list: "c-senders", inputmode: "email", placeholder: "you@example.com" });
    this.subject = input("subject");
    this.text = h("textarea", { id: "c-text", rows: 10, oninput: changed, "aria-label": "Text", placeholder: "Write in haste; there is time to think again.", "aria-describedby": "c-text-wrong" });
    this.people = Object.fromEntries(PEOPLE.map((name) => [name, new Chips(name[0].toUpperCase() + name.slice(1), changed)]));
    this.state = h("p", { class: "state", role: "status" });
    this.title = h("h2", { tabindex: -1 });
    this.bar = h("div", { class: "conflict", role: "alert", hidden: true });
    this.wrong = h("p", { class: "wrong", id: "c-text-wrong", role: "alert" });
    this.note = h("p", { class: "hint", hidden: true });
    this.files = h("ul", { class: "files" });
    this.picker = h("input", { type: "file", multiple: true, hidden: true, "aria-label": "Files", onchange: () => { this.#attach([...this.picker.files]); this.picker.value = ""; } });
    this.delay = h("select", { "aria-label": "Time to undo", onchange: () => localStorage.setItem(DELAY, this.delay.value) });
    this.sender = h("button", { class: "main send", onclick: () => this.send(), title: "Ctrl+Enter" }, "Send");
    for (const [name, label] of [["cc", "Cc"], ["bcc", "Bcc"]]) this.people.to.more.append(h("button", { class: "bare", "data-more": name, onclick: () => { this.#show(name); this.people[name].input.focus(); } }, label));
    this.element = h("section", { class: "composer", "aria-label": "Composer" },
      h("header", {}, h("a", { class: "back bare", href: "#/outbox", "aria-label": "Back to the list" }, icon("back")), this.title, this.state), this.bar,
      field("from", "From", this.from), h("datalist", { id: "c-senders" }), PEOPLE.map((name) => this.people[name].element), field("subject", "Subject", this.subject),
      this.text, this.note, this.files, this.wrong, this.picker,
      h("footer", {}, this.sender, h("label", { class: "delay" }, h("span", {}, "Undo for"), this.delay), button("clock", "Send later", () => this.#later()),
        h("span", { class: "gap" }), button("clip", "Attach files", () => this.picker.click(), { bare: true }), copier(() => this.curl(), "Copy as curl", true), button("bin", "Discard draft", () => this.discard(), { bare: true })));
    this.#listen();
    this.#put(null);
  }

  #listen() {
    this.element.addEventListener("keydown", (e) => {
      if (e.key !== "Enter" || !(e.ctrlKey || e.metaKey)) return;
      e.preventDefault();
      this.send();
    });
    const files = (data) => [...(data?.files ?? [])];
    this.element.addEventListener("paste", (e) => { if (files(e.clipboardData).length) { e.preventDefault(); this.#attach(files(e.clipboardData)); } });
    let over = 0;
    const lit = (by) => { over = by ? over + by : 0; this.element.classList.toggle("over", over > 0); };
    this.element.addEventListener("dragenter", (e) => { if (e.dataTransfer?.types.includes("Files")) { e.preventDefault(); lit(1); } });
    this.element.addEventListener("dragover", (e) => { if (e.dataTransfer?.types.includes("Files")) e.preventDefault(); });
    this.element.addEventListener("dragleave", () => over && lit(-1));
    this.element.addEventListener("drop", (e) => { if (files(e.dataTransfer).length) { e.preventDefault(); lit(0); this.#attach(files(e.dataTransfer)); } });
    document.addEventListener("visibilitychange", () => document.hidden && this.save());
  }

  // Take what the session allows.
  settle() {
    const { senders, default_delay_seconds: usual, max_delay_seconds: most } = this.app.session;
    const delays = [...new Set([...DELAYS, usual])].filter((s) => s <= most).sort((a, b) => a - b), last = localStorage.getItem(DELAY);
    put(this.delay, delays.map((s) => h("option", { value: `${s}` }, s ? lasting(s) : "not at all")));
    this.delay.value = delays.map(String).includes(last ?? "") ? last : `${usual}`;
    put((this.element.querySelector("datalist")), (senders ?? []).filter((s) => /^[^@]+@/.test(s)).map((s) => h("option", { value: s })));
  }

  #usualFrom() {
    const { senders, dev } = this.app.session, named = (senders ?? []).filter((s) => /^[^@]+@/.test(s));
    return localStorage.getItem(FROM) || named[0] || (dev ? "you@example.com" : "");
  }

  // Begin a new email; what was written stays a draft.
  async fresh(focus = true) {
    await this.#leave();
    this.#put(null);
    this.from.value = this.#usualFrom();
    this.#kept = this.#parts(); // a From of our own is nothing to save
    if (focus) this.focus();
  }

  // Go on with a draft.
  async open(draft) {
    await this.#leave();
    this.#put(draft);
    this.focus();
  }

  focus() { (this.people.to.empty ? this.people.to.input : this.subject.value ? this.text : this.subject).focus(); }

  async #leave() {
    await this.save();
    clearTimeout(this.#quiet);
  }

  #put(email) {
    this.id = email?.id ?? "";
    this.#version = email?.version ?? 0;
    this.#key = unique();
    this.#held = false;
    this.#since = this.#uploads = 0;
    this.bar.hidden = true;
    this.from.value = email?.from ?? "";
    this.subject.value = email?.subject ?? "";
    this.text.value = email?.text ?? "";
    for (const name of PEOPLE) {
      this.people[name].input.value = "";
      this.people[name].value = email?.[name] ?? [];
      this.#show(name, name === "to" || this.people[name].all.length > 0);
    }
    put(this.files, (email?.attachments ?? []).map((file) => this.#file(file)));
    this.title.textContent = email ? "Draft" : "New email";
    const strange = Boolean(email?.raw);
    for (const control of [this.from, this.subject, this.text]) control.disabled = strange;
    this.note.hidden = !strange && !email?.html;
    this.note.textContent = strange ? "Another program wrote this message. It stays as it is, and can be sent again." : "This email also has an HTML part, which stays as it is.";
    this.#clear();
    this.#say(email ? `Saved ${when(email.updated_at)}` : "");
    this.#kept = this.#parts();
  }

  #show(name, on = true) {
    this.people[name].element.hidden = !on;
    const more = (this.people.to.more.querySelector(`[data-more=${name}]`));
    if (more) more.hidden = on;
  }

  #parts() {
    return { from: this.from.value.trim() || null, ...Object.fromEntries(PEOPLE.map((name) => [name, this.people[name].value])), subject: this.subject.value, text: this.text.value || null };
  }

  // What differs from what the server has.
  #changes() {
    const parts = this.#parts();
    return Object.fromEntries(Object.entries(parts).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(this.#kept[name])));
  }

  #changed() {
    this.#since ||= performance.now();
    this.#key = unique();
    this.#say("Not saved yet");
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.save(), Math.max(0, Math.min(QUIET, this.#since + LONGEST - performance.now())));
  }

  // Bring the server up to date.
  save() { return (this.#turns = this.#turns.then(() => this.#save(), () => this.#save())); }

  async #save(again = true, whole = false) {
    clearTimeout(this.#quiet);
    const changes = whole ? this.#parts() : this.#changes(), { api } = this.app;
    if (this.#held) return false;
    this.#since = 0;
    if (!Object.keys(changes).length && !(whole && !this.id)) { if (this.id) this.#say("Saved"); else this.#say(""); return true; }
    this.#say("Saving…");
    try {
      const email = this.id ? await api.edit(this.id, changes, { version: this.#version }) : await api.draft(this.#parts(), { key: this.#key });
      const made = !this.id;
      this.id = email.id;
      this.#version = email.version;
      this.#kept = { ...this.#kept, ...changes };
      if (made) { this.title.textContent = "Draft"; this.#kept = { ...this.#parts(), ...changes }; this.app.renamed(email.id); }
      if (changes.from) localStorage.setItem(FROM, changes.from);
      this.app.seen(email);
      this.#clear(false);
      this.#say(this.#bad() ? "Saved, but for what is marked" : `Saved ${when((email).updated_at)}`);
      return true;
    } catch (error) {
      if (!(error instanceof UndosendError)) throw error;
      if (error.status === 422 && this.#mark(error) && again) return this.#save(false, whole);
      await this.#failed(error);
      return false;
    }
  }

  async #failed(error) {
    this.#say("Not saved");
    if ([404, 409, 412].includes(error.status)) return this.#elsewhere(await this.app.api.get(this.id).catch(() => null));
    if (error.status === 0 || error.status >= 500) {
      this.#say("Not saved: no connection. Trying again");
      this.#quiet = setTimeout(() => this.save(), 3000);
    } else if (error.status === 401) this.app.attempt(() => { throw error; });
    else if (error.status !== 422) put(this.wrong, error.message);
  }

  // Somebody else was faster; nothing of theirs or of ours is lost.
  #elsewhere(email) {
    if (email?.status === "draft") return this.#conflict("This draft was changed in another tab.", ["Take theirs", () => this.#theirs()], ["Keep mine", () => this.#mine()]);
    const keep = ["Keep my text as a new draft", () => this.#anew()];
    if (!email) return this.#conflict("This draft was deleted in another tab.", keep);
    this.#conflict("This email was sent in another tab.", keep, ["Show it", () => { this.#put(null); this.app.go(`outbox/${email.id}`); }]);
  }

  #conflict(words, ...choices) {
    this.#held = true;
    this.bar.hidden = false;
    put(this.bar, h("p", {}, words), choices.map(([label, choose]) => h("button", { class: "soft", onclick: () => this.app.attempt(async () => { this.#held = false; this.bar.hidden = true; await choose(); }) }, label)));
  }
  async #theirs() { this.#put(await this.app.api.get(this.id)); this.focus(); }
  async #mine() {
    const theirs = await this.app.api.get(this.id);
    this.#version = theirs.version;
    put(this.files, theirs.attachments.map((file) => this.#file(file)));
    await this.#save(true, true);
  }
  async #anew() {
    this.id = "";
    this.#key = unique();
    put(this.files);
    await this.#save(true, true);
  }

  // What is wrong, where it is wrong.

  #clear(chips = true) {
    for (const name of ["from", "subject"]) this.#about(name, "");
    put(this.wrong);
    if (chips) for (const name of PEOPLE) this.people[name].tell();
  }
  #bad() { return PEOPLE.some((name) => this.people[name].all.some((chip) => chip.wrong)); }

  #about(name, words) {
    const control = name === "from" ? this.from : this.subject;
    control.toggleAttribute("aria-invalid", Boolean(words));
    put((control.parentElement?.querySelector(".wrong")), words);
  }

  // Show each error of the answer at its field.
  #mark(error) {
    let chips = 0;
    const others = [], found = [...error.errors].sort((a, b) => (a.pointer < b.pointer ? 1 : -1));
    this.#clear(false);
    for (const { pointer, detail } of found) {
      const [, name, place] = pointer.split("/");
      if (PEOPLE.includes(name)) {
        this.#show(name);
        if (place !== undefined && this.people[name].mark(Number(place), detail)) chips += 1;
        this.people[name].tell(place === undefined ? detail : "");
      } else if (["from", "subject"].includes(name)) this.#about(name, detail);
      else others.push(detail);
    }
    put(this.wrong, others.join(" "));
    return chips === found.length && chips > 0;
  }

  #say(words) { if (this.state.textContent !== words) this.state.textContent = words; }

  // Attachments.

  #attach(files) {
    for (const file of files) {
      const part = h("progress", { value: 0, max: 1, "aria-label": `Uploading ${file.name}` }), stop = new AbortController();
      const row = h("li", { class: "going" }, icon("clip"), h("span", {}, file.name), part, button("x", `Stop ${file.name}`, () => { stop.abort(); row.remove(); }, { bare: true }));
      this.files.append(row);
      this.#uploads += 1;
      this.#turns = this.#turns.then(() => this.#upload(file, row, part, stop.signal)).finally(() => (this.#uploads -= 1));
    }
  }

  async #upload(file, row, part, signal) {
    const { api } = this.app;
    try {
      signal.throwIfAborted();
      if (!(await this.#save(true, !this.id))) throw new Error("The draft could not be saved, so nothing was attached.");
      const done = await api.attach(this.id, file, { version: this.#version, signal, progress: (now) => (part.value = now) });
      this.#version = done.version;
      row.replaceWith(this.#file(done.file));
    } catch (error) {
      if (signal.aborted) return this.#catchUp();
      if (error.status === 412) await this.#failed(error);
      row.className = "failed";
      put(row, icon("unsent"), h("span", {}, file.name), h("small", {}, error.code === "too_large" ? "Too large: a file may have 18 MiB, an email 25 MiB on its way." : error.message),
        h("button", { class: "soft", onclick: () => { row.remove(); this.#attach([file]); } }, "Try again"), button("x", `Remove ${file.name}`, () => row.remove(), { bare: true }));
    }
  }

  // An upload that was stopped may have been whole.
  async #catchUp() {
    if (!this.id) return;
    const email = await this.app.api.get(this.id);
    this.#version = email.version;
    for (const file of email.attachments) if (!this.files.querySelector(`[data-id="${file.id}"]`)) this.files.append(this.#file(file));
  }

  #file(file) {
    const off = () => (this.#turns = this.#turns.then(() => this.app.attempt(async () => {
      this.#version = await this.app.api.detach(this.id, file.id, { version: this.#version });
      row.remove();
    })));
    const row = h("li", { "data-id": file.id }, icon("clip"), h("span", {}, file.filename), h("small", {}, octets(file.size)), button("x", `Remove ${file.filename}`, off, { bare: true }));
    return row;
  }

  // Sending.

  // The draft as one call would send it.
  curl() {
    this.#take();
    const parts = Object.fromEntries(Object.entries(this.#parts()).filter(([, value]) => value && value.length));
    return this.files.children.length && this.id ? curl.line("POST", `/v1/emails/${this.id}/send`, { delay_seconds: Number(this.delay.value) })
      : curl.line("POST", "/v1/emails", { ...parts, delay_seconds: Number(this.delay.value) });
  }

  #take() { for (const name of PEOPLE) this.people[name].take(); }
  async #later() { (await import("./later.js")).pickTime("Send later", this.app.session.max_delay_seconds, async (scheduled_at) => { await this.send({ scheduled_at }); }); }

  async send(timing = { delay_seconds: Number(this.delay.value) }) {
    if (this.sender.disabled) return;
    this.#take();
    this.sender.disabled = true;
    put(this.sender, this.#uploads ? "Attaching…" : "Sending…");
    try {
      await this.#turns;
      await (this.#turns = this.#turns.then(() => this.#send(timing)));
    } finally {
      this.sender.disabled = false;
      put(this.sender, "Send");
    }
  }

  async #send(timing) {
    const failed = (this.files.querySelector(".failed"));
    if (failed) return put(this.wrong, "A file could not be attached. Try again, or remove it.");
    if (this.#bad() || !(await this.#save(true, !this.id)) || this.#bad()) return this.element.querySelector("[aria-invalid]")?.focus();
    try {
      const email = await this.app.api.sendDraft(this.id, timing, { version: this.#version, key: this.#key });
      if (this.from.value) localStorage.setItem(FROM, this.from.value.trim());
      this.#put(null);
      this.app.sent(email);
    } catch (error) {
      if (!(error instanceof UndosendError)) throw error;
      if (error.status === 422) { this.#mark(error); this.element.querySelector("[aria-invalid]")?.focus(); }
      else if (error.status === 0) put(this.wrong, "The service does not answer. Send again: it will not be sent twice.");
      else await this.#failed(error);
    }
  }

  async discard() {
    this.#turns = this.#turns.then(() => this.app.attempt(async () => {
      const { id } = this;
      this.#put(null);
      if (id) { await this.app.api.remove(id); this.app.gone(id); }
      this.app.go("drafts");
    }));
    await this.#turns;
  }
}
