// @ts-check
/**
 * undosend for browsers: one module, no dependencies, no build step.
 *
 *     import { Undosend } from "https://mail.example.com/ui/undosend.js";
 *     const undosend = new Undosend({ base: "https://mail.example.com", token });
 *     await undosend.undo(email.id); // a draft again, or an UndosendError that says why not
 *
 * @typedef {"draft"|"held"|"sending"|"retrying"|"sent"|"partially_sent"|"failed"|"unknown"|"expired"|"canceled"} Status
 * @typedef {{address: string, status: string, code: number|null, reply: string|null}} Recipient
 * @typedef {{id: string, filename: string, content_type: string, content_id: string|null, size: number}} Attachment
 * @typedef {{id: string, status: Status, undo_status: null|"pending"|"final"|"canceled", undo_seconds_left: number, version: number,
 *   from: string|null, to: string[], cc: string[], bcc: string[], subject: string, text?: string|null, html?: string|null,
 *   attachments: Attachment[], recipients: Recipient[]} & Record<string, any>} Email  openapi.yaml has every member
 * @typedef {{delay_seconds?: number, scheduled_at?: string, expires_at?: string|null}} Timing
 * @typedef {{pointer: string, code: string, detail: string}} FieldError
 * @typedef {{code: string, title: string, detail: string, status: number, errors?: FieldError[], email_status?: Status}} Problem
 * @typedef {{version?: number, key?: string, signal?: AbortSignal, onprogress?: (part: number) => void}} Options
 *   version: change only this version (412 otherwise); key: Idempotency-Key; onprogress: told how much of a file has gone, up to 1.
 * @typedef {"connecting"|"live"|"polling"|"offline"|"denied"} Connection  denied: the key or token is good no longer
 * @typedef {(id: string, options?: Options) => Promise<Email>} Act
 * @typedef {(email: object, options?: Options) => Promise<Email>} Make
 * @typedef {{id?: string, seen: (email: Email) => void, gone?: (id: string) => void, connection?: (state: Connection) => void}} Watcher
 */

export const ACTIVE = ["held", "retrying", "sending"];
const STREAM_AGAIN = 60_000, SILENCE = 40_000, LONGEST_PAUSE = 15_000;
const read = new WeakMap();

/** Seconds that undo still works for sure, told by the server and counted by no wall clock.
 * @param {Email} email */
export function secondsLeft(email) {
	if (!read.has(email)) read.set(email, performance.now());
	return Math.max(0, email.undo_seconds_left - (performance.now() - read.get(email)) / 1000);
}

/** The name of whom an address is for, else the address. @param {string} person */
export const named = (person) => /^\s*"?(.*?)"?\s*<[^<>]*>$/.exec(person)?.[1].replace(/\\(.)/g, "$1") || person.replace(/^<|>$/g, "");

/** Minutes and seconds. @param {number} n */
export const clock = (n) => `${Math.floor(n / 60)}:${`${n % 60}`.padStart(2, "0")}`;

/** What went wrong, as the service told it (RFC 9457); `code` is "unreachable" where it did not. */
export class UndosendError extends Error {
	/** @param {Problem} problem @param {unknown} [cause] */
	constructor(problem, cause) {
		super(problem.detail || problem.title, { cause });
		this.name = "UndosendError";
		this.problem = problem;
		this.code = problem.code;
		this.status = problem.status;
		this.errors = problem.errors || [];
	}

	/** Whether what was asked for may have been done. */
	get unclear() { return this.status === 0 || this.status >= 500 || this.code === "idempotency_in_progress"; }
}

export class Undosend {
	/**
	 * base: the service's address, by default that of this module's origin.
	 * token: a browser token, or a function that brings a fresh one; none where a session's cookie is used.
	 * @param {{base?: string, token?: string | (() => string | Promise<string>)}} [options]
	 */
	constructor({ base, token } = {}) {
		this.base = (base ?? new URL("..", import.meta.url).href).replace(/\/+$/, "");
		this.token = token;
		/** @type {string|null} what unsafe requests of a session carry */
		this.xsrf = null;
		/** @type {string[]|null} what may be done: known once session() was asked */
		this.scopes = null;
		this.live = new Live(this);
	}

	/** Held. @type {Make} */ send = (email, options) => this.json("POST", "/v1/emails", email, options);
	/** A draft. @type {Make} */ draft = (email, options) => this.send({ ...email, draft: true }, options);
	/** @type {Act} */ get = (id, options) => this.json("GET", at(id), undefined, options);
	/** @param {Record<string, string|number>} [query] @returns {Promise<{data: Email[], has_more: boolean, after: string|null}>} */
	list(query = {}) {
		const given = Object.entries(query).filter(([, value]) => value).map(([name, value]) => [name, `${value}`]);
		return this.json("GET", `/v1/emails?${new URLSearchParams(given)}`);
	}
	/** Change a draft, or the Timing of what is held. @param {string} id @param {object} parts @param {Options} [options] @returns {Promise<Email>} */
	edit(id, parts, options) { return this.json("PATCH", at(id), parts, options); }
	/** @param {string} id @param {Timing} [timing] @param {Options} [options] @returns {Promise<Email>} */
	sendDraft(id, timing = {}, options) { return this.json("POST", at(id, "/send"), timing, options); }
	/** @param {string} what @returns {Act} */
	#act(what) { return (id, options) => this.json("POST", at(id, what), undefined, options); }
	undo = this.#act("/undo");
	cancel = this.#act("/cancel");
	sendNow = this.#act("/send-now");
	reopen = this.#act("/reopen");
	/** @param {string} id @param {Options} [options] */
	async remove(id, options) { await this.request("DELETE", at(id), options); }
	/** @param {string} id @returns {Promise<any[]>} what has happened to it, oldest first */
	async history(id) { return (await this.json("GET", at(id, "/events"))).data; }
	/** @param {string} id @returns {Promise<Blob>} the bytes that leave */
	async raw(id) { return (await this.request("GET", at(id, "/raw"))).blob(); }
	/** @param {string} id @param {string} file @returns {Promise<Blob>} */
	async file(id, file) { return (await this.request("GET", at(id, `/attachments/${file}`))).blob(); }
	/** @param {string} id @param {string} file @param {Options} [options] @returns {Promise<number>} the draft's new version */
	async detach(id, file, options) {
		return version(await this.request("DELETE", at(id, `/attachments/${file}`), options));
	}

	/** Attach a file to a draft. @param {string} id @param {File} file @param {Options} [options]
	 * @returns {Promise<{file: Attachment, version: number}>} */
	async attach(id, file, options) {
		const response = await this.request("POST", at(id, `/attachments?filename=${encodeURIComponent(file.name)}`), options, file);
		return { file: (await response.json()).data[0], version: version(response) };
	}

	/** Who is signed in, and what they may do; with a token, what that may do. */
	async session() { return this.#entered(await this.json("GET", "/v1/session")); }
	/** @param {string} key */
	async signIn(key) { return this.#entered(await this.json("POST", "/v1/session", { key })); }
	async signOut() { await this.request("DELETE", "/v1/session"); this.xsrf = null; }

	/** Hear of an email, or of all: `seen` is called with the whole email at once and whenever it has changed.
	 * Server-sent events where there are any, else polling; `connection` tells which.
	 * @param {Watcher} watcher @returns {() => void} stops it */
	watch(watcher) { return this.live.add(watcher); }

	async json(method, path, body, options) {
		const began = performance.now();
		const said = await (await this.request(method, path, options, body)).json();
		// Counted from when it was asked: a slow line never makes the window look longer.
		for (const one of said.object === "list" ? said.data : [said]) if (one.object === "email") read.set(one, began);
		return said;
	}

	/** @param {string} method @param {string} path @param {Options & {headers?: object}} [options] @param {unknown} [body] a Blob, else JSON
	 * @returns {Promise<Response>} a good one; all others are thrown */
	async request(method, path, { version, key, signal, headers, onprogress } = {}, body = undefined) {
		const token = typeof this.token === "function" ? await this.token() : this.token, file = body instanceof Blob;
		try {
			const response = await (onprogress ? uploaded : fetch)(this.base + path, {
				method, signal, cache: "no-store", credentials: "same-origin",
				headers: {
					...(token && { Authorization: `Bearer ${token}` }),
					...(this.xsrf && method !== "GET" && { "X-XSRF-Token": this.xsrf }),
					...(version !== undefined && { "If-Match": `"${version}"` }),
					...(key && { "Idempotency-Key": key }),
					...(body !== undefined && { "Content-Type": file ? body.type || "application/octet-stream" : "application/json" }),
					...headers,
				},
				body: file ? body : JSON.stringify(body),
			}, onprogress);
			if (response.ok || response.status === 304) return response;
			throw new UndosendError(await response.json().catch(() => puzzling(response.status)));
		} catch (error) {
			if (error instanceof UndosendError || signal?.aborted) throw error;
			const detail = "The service does not answer. What was asked may have been done.";
			throw new UndosendError({ code: "unreachable", title: "No answer", status: 0, detail }, error);
		}
	}

	#entered(session) {
		this.xsrf = session.xsrf;
		this.scopes = session.scopes;
		return session;
	}
}

// One connection for all who watch through one client.
class Live {
	#watchers = new Set();
	#active = new Map();
	#running = null;
	#filter = "";
	#cursor = "";
	#streamFrom = 0;
	#state = "connecting";

	constructor(client) { this.client = client; }

	add(watcher) {
		this.#watchers.add(watcher);
		watcher.connection?.(this.#state);
		queueMicrotask(() => this.#arrange());
		if (watcher.id) this.#look(watcher.id).catch(() => {});
		return () => {
			this.#watchers.delete(watcher);
			queueMicrotask(() => this.#arrange());
		};
	}

	#watching(id) { return [...this.#watchers].filter((w) => !w.id || w.id === id); }
	get #ids() { return [...new Set([...this.#watchers].map((w) => w.id))]; }

	#arrange() {
		const ids = this.#ids, filter = (ids.length === 1 && ids[0]) || "";
		if (this.#running && ids.length && filter === this.#filter) return;
		this.#running?.abort();
		this.#running = null;
		this.#filter = filter;
		this.#cursor = "";
		if (ids.length) this.#run((this.#running = new AbortController()).signal);
	}

	async #run(signal) {
		for (let failures = 0; !signal.aborted; ) {
			try {
				if (performance.now() < this.#streamFrom) await this.#poll(signal);
				else {
					await this.#stream(signal, () => (failures = 0));
					await pause(500 + Math.random() * 1000, signal); // whoever closed it may close many
				}
				failures = 0;
			} catch (error) {
				if (signal.aborted) return;
				const missing = [404, 406, 415].includes(error.status), denied = [401, 403].includes(error.status);
				if (missing || failures > 1) this.#streamFrom = performance.now() + (missing ? STREAM_AGAIN : 10_000);
				if (missing) continue;
				failures += denied ? 9 : 1;
				this.#tell(denied ? "denied" : "offline");
				await pause(Math.min(LONGEST_PAUSE, 500 * 2 ** failures) * (0.5 + Math.random() / 2), signal);
			}
		}
	}

	async #stream(signal, opened) {
		const query = new URLSearchParams({ ...(this.#filter && { email: this.#filter }), ...(this.#cursor ? { last_event_id: this.#cursor } : { snapshot: "1" }) });
		const silence = new AbortController();
		const options = { headers: { Accept: "text/event-stream" }, signal: AbortSignal.any([signal, silence.signal]) };
		let timer;
		const listening = () => { clearTimeout(timer); timer = setTimeout(() => silence.abort(), SILENCE); };
		listening();
		addEventListener("offline", () => silence.abort(), options);
		try {
			const response = await this.client.request("GET", `/v1/events?${query}`, options);
			if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) throw new UndosendError(puzzling(406));
			opened();
			this.#tell("live");
			const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
			for (let rest = ""; ; ) {
				const { value, done } = await reader.read();
				if (done) return;
				listening();
				const blocks = (rest + value).replace(/\r\n?/g, "\n").split("\n\n");
				rest = blocks.pop() || "";
				for (const block of blocks) await this.#heard(block);
			}
		} finally {
			clearTimeout(timer);
			silence.abort();
		}
	}

	async #heard(block) {
		const { event, data, id } = Object.fromEntries([...block.matchAll(/^(\w+): ?(.*)$/gm)].map(([, name, value]) => [name, value]));
		if (event === "snapshot") await this.#snapshot(JSON.parse(data).data);
		else if (data && event !== "reset") await this.#look(JSON.parse(data).email_id);
		if (id) this.#cursor = id;
		if (event === "reset") this.#cursor = ""; // a snapshot follows
	}

	async #poll(signal) {
		const ids = this.#ids, waits = !!this.#filter;
		if (ids.includes(undefined)) {
			const { data } = await this.client.list({ status: ACTIVE.join(","), limit: 100 });
			if (!signal.aborted) await this.#snapshot(data);
		} else for (const id of ids) await this.#look(id, { signal, headers: { "If-None-Match": `"${this.#active.get(id)}"`, ...(waits && { Prefer: "wait=20" }) } });
		this.#tell("polling");
		await pause(waits ? 200 : document.hidden ? 5000 : 1200, signal);
	}

	async #snapshot(emails) {
		const before = this.#active;
		this.#active = new Map(emails.map((email) => [email.id, email.version]));
		for (const email of emails) if (before.get(email.id) !== email.version) this.#show(email);
		for (const id of new Set([...before.keys(), ...this.#ids])) if (id && !this.#active.has(id)) await this.#look(id);
	}

	async #look(id, options) {
		if (!this.#watching(id).length) return;
		const waits = options?.headers.Prefer, began = performance.now();
		try {
			const response = await this.client.request("GET", at(id), options);
			if (response.status === 304) return;
			const email = await response.json();
			read.set(email, waits ? performance.now() : began);
			if (!ACTIVE.includes(email.status) && email.id !== this.#filter) this.#active.delete(id);
			else this.#active.set(id, email.version);
			this.#show(email);
		} catch (error) {
			if (error.status !== 404) throw error;
			this.#active.delete(id);
			for (const w of this.#watching(id)) w.gone?.(id);
			if (id === this.#filter) await pause(5000, options?.signal);
		}
	}

	#show(email) {
		for (const w of this.#watching(email.id)) w.seen(email);
	}

	#tell(state) {
		if (state === this.#state) return;
		this.#state = state;
		for (const w of this.#watchers) w.connection?.(state);
	}
}

// As fetch, which cannot tell how much has gone.
const uploaded = (url, { method, headers, body, signal }, onprogress) => new Promise((resolve, reject) => {
	const request = new XMLHttpRequest();
	request.open(method, url);
	for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
	request.upload.onprogress = ({ loaded, total }) => total && onprogress(loaded / total);
	request.onload = () => resolve(new Response(request.response, { status: request.status, headers: { ETag: request.getResponseHeader("ETag") ?? "" } }));
	request.onerror = request.onabort = reject;
	signal?.addEventListener("abort", () => request.abort());
	request.send(body);
});
const puzzling = (status) => ({ code: "puzzling", title: "Unexpected answer", status, detail: `The answer was HTTP ${status}.` });
const at = (id, more = "") => `/v1/emails/${encodeURIComponent(id)}${more}`;
const version = (response) => Number((response.headers.get("ETag") || "").replaceAll('"', ""));
const pause = (ms, signal) => new Promise((resolve) => {
	const timer = setTimeout(resolve, ms);
	signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});
