// What the page is written with. No text ever becomes markup.

// Make an element: h("p.hint", { id, label }, "words"), or without attributes; `label` is what it is called aloud.
export function h(kind, given, ...children) {
	if (given?.constructor !== Object) return h(kind, {}, given, ...children);
	const [tag, ...classes] = kind.split("."), element = document.createElementNS(`http://www.w3.org/${["svg", "path"].includes(tag) ? "2000/svg" : "1999/xhtml"}`, tag);
	if (classes.length) element.setAttribute("class", classes.join(" "));
	if (tag === "button") element.type = "button";
	for (const [name, value] of Object.entries(given)) {
		if (value == null || value === false) continue;
		if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
		else if (name === "value") element.value = value;
		else element.setAttribute(name === "label" ? "aria-label" : name, value === true ? "" : value);
	}
	return put(element, ...children);
}

export function put(element, ...children) {
	element.replaceChildren(...children.flat(9).filter((c) => c != null && c !== false));
	return element;
}

const ROUND = "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18";
const ICONS = {
	pen: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4", outbox: "M4 12 20 4l-6 16-3-7z", drafts: "M6 3h8l4 4v14H6zM14 3v4h4M9 13h6M9 17h4",
	sent: "m4 12.5 5 5L20 6.5", unsent: "M12 8v5M12 16.5v.1M12 3 2.5 20h19z", inbox: "M4 13 6 5h12l2 8v6H4zM4 13h5l1 3h4l1-3h5",
	undo: "M9 5 4 10l5 5M4 10h10a5 5 0 0 1 0 10h-3", clock: `M12 7v5l3 2${ROUND}`, now: "m6 5 8 7-8 7M18 5v14",
	x: "m6 6 12 12M18 6 6 18", clip: "m20 11-8.5 8.5a5 5 0 0 1-7-7L13 4a3.4 3.4 0 0 1 5 5l-8.5 8.5a1.7 1.7 0 0 1-2.5-2.5L15 7",
	bin: "M5 7h14M10 4h4M7 7l1 13h8l1-13", copy: "M9 9h11v11H9zM5 15H4V4h11v1", back: "m14 6-6 6 6 6", search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14m5 12 4 4",
	stop: `${ROUND}M6 6l12 12`, down: "M12 4v11m-5-5 5 5 5-5M5 20h14", code: "m9 7-5 5 5 5m6-10 5 5-5 5",
};

export const icon = (name) => h("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, h("path", { d: ICONS[name] }));

// Buttons with an icon: the label beside it, or only told.
export const button = (sign, label, onclick, more) => h("button.plain", { onclick, ...more }, icon(sign), h("span", label));
export const bare = (sign, label, onclick, more) => h("button.bare", { onclick, label, title: label, ...more }, icon(sign));

export const mark = () => h("img.mark", { src: "ui/mark.svg", alt: "" });
export const back = (view) => h("a.back.bare", { href: `#/${view}`, label: "Back to the list" }, icon("back"));
export const wrong = (id, words) => h("p.wrong", { id, role: "alert" }, words);
export const fileRow = (name, ...more) => h("li", icon("clip"), h("span", name), ...more);

export function when(at) {
	if (!at) return "";
	const then = new Date(at), now = new Date(), away = then - now, time = { hour: "numeric", minute: "2-digit" };
	if (then.toDateString() === now.toDateString()) return then.toLocaleTimeString([], time);
	if (Math.abs(away) < 6 * 86_400_000) return then.toLocaleString([], { weekday: "short", ...time });
	return then.toLocaleString([], { dateStyle: "medium", timeStyle: away > 0 ? "short" : undefined });
}

export function lasting(seconds) {
	const [size, name] = [[86_400, "day"], [3600, "hour"], [60, "minute"]].find(([one]) => seconds && seconds % one === 0) ?? [1, "second"];
	return `${seconds / size} ${name}${seconds === size ? "" : "s"}`;
}

export const octets = (n) => (n < 1000 ? `${n} B` : n < 1e6 ? `${Math.round(n / 1000)} kB` : `${(n / 1e6).toFixed(1)} MB`);

export const titled = (subject) => subject || "(no subject)";
export const unique = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

export const curl = {
	key: false, // whether calls need one

	line(method, path, body) {
		const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
		const base = new URL(".", document.baseURI).href.slice(0, -1);
		return [
			"curl -s", method !== "GET" && !(method === "POST" && body) && `-X ${method}`,
			/[?&]/.test(path) ? quoted(base + path) : base + path,
			this.key && '-H "Authorization: Bearer $UNDOSEND_KEY"',
			body && `\\\n  -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(body, null, 2))}`,
		].filter(Boolean).join(" ");
	},
};

export const copier = (text, kind = bare, sign = "code", label = "Copy as curl") => kind(sign, label, async ({ currentTarget: { dataset } }) => {
	const what = text();
	try {
		await navigator.clipboard.writeText(what);
		dataset.done = "Copied";
		setTimeout(() => delete dataset.done, 1500);
	} catch {
		dialog("Copy this", h("textarea.code", { rows: 8, readonly: true, value: what, label: "curl", onfocus: (e) => e.target.select() }));
	}
});

export const code = (line) => h("div.curl", h("pre", line), copier(() => line, bare, "copy", "Copy"));

export const empty = (title, words, ...calls) =>
	h("div.empty", h("h3", title), h("p", words), calls.map((call) => code(curl.line(...call))));

export function dialog(title, ...content) {
	const shut = () => box.close();
	const box = h("dialog", { label: title, onclose: () => box.remove(), onclick: (e) => e.target === box && shut() },
		h("div.box", h("header", h("h2", title), bare("x", "Close", shut)), ...content));
	document.body.append(box);
	box.showModal();
	return box;
}
