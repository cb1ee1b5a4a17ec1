import { named } from "./undosend.js";
import { h, put, wrong } from "./dom.js";

// Take a pasted or typed list apart; commas within quotes and brackets part nothing.
function addresses(text) {
	const found = text.match(/(?:"(?:\\.|[^"\\])*"|<[^>]*>|[^,;\n"<]|["<])+/g) || [];
	return found.map((one) => one.trim()).filter(Boolean).flatMap((one) => {
		const words = one.split(/\s+/);
		return !/[<"]/.test(one) && words.every((word) => word.includes("@")) ? words : one;
	});
}

// A line that is filled in, with what is wrong with it.
export class Field {
	constructor(name, changed, more) {
		const id = `c-${name.toLowerCase()}`;
		this.changed = changed;
		this.input = h("input", { id, type: "text", dir: "auto", autocomplete: "off", "aria-describedby": `${id}-wrong`, oninput: () => this.typed(), ...more });
		this.wrong = wrong(`${id}-wrong`);
		this.element = h("div.field", h("label", { for: id }, name), this.input, this.wrong);
	}

	// What can be saved: nothing of what is wrong.
	get value() { return this.bad ? undefined : this.input.value.trim(); }
	set value(text) {
		this.input.value = text ?? "";
		this.tell();
	}
	get bad() { return this.input.hasAttribute("aria-invalid"); }

	typed() {
		this.tell();
		this.changed();
	}

	tell(words = "") {
		put(this.wrong, words);
		this.input.ariaInvalid = words ? true : null;
	}

	// Tell what is wrong; true where `value` names it no more.
	mark(words) {
		const before = this.value;
		this.tell(words);
		return !!before;
	}
}

export class Chips extends Field {
	all = [];

	// beside: the field that has a button for this one, until it is wanted.
	constructor(name, changed, beside) {
		super(name, changed, { spellcheck: "false", inputmode: "email", onkeydown: (e) => this.#key(e), onblur: () => this.take(), onpaste: (e) => this.#paste(e) });
		this.list = h("ul.chips");
		this.more = h("span.more");
		this.wrong.before(h("div.holds", { onclick: (e) => e.target === e.currentTarget && this.input.focus() }, this.list, this.input), this.more);
		beside?.more.append(this.opener = h("button.bare", { onclick: () => { this.show(); this.input.focus(); } }, name));
	}

	get value() { return this.all.filter((chip) => !chip.wrong).map((chip) => chip.text); }
	set value(texts = []) {
		this.all = texts.map((text) => ({ text }));
		this.input.value = "";
		this.tell();
		this.show(texts.length > 0);
	}
	get bad() { return this.all.some((chip) => chip.wrong); }
	get empty() { return !this.all.length && !this.input.value.trim(); }

	show(on = true) {
		if (!this.opener) return;
		this.element.hidden = !on;
		this.opener.hidden = on;
	}

	typed() {
		if (/[,;\n]\s*$/.test(this.input.value) && !/"[^"]*$/.test(this.input.value)) this.take();
		else this.changed();
	}

	#paste(e) {
		const text = e.clipboardData?.getData("text") ?? "";
		if (this.input.readOnly || addresses(text).length < 2) return;
		e.preventDefault();
		this.input.value += ` ${text.replace(/[\r\n]+/g, ",")}`;
		this.take();
	}

	take() {
		const typed = addresses(this.input.value);
		this.input.value = "";
		if (!typed.length) return;
		for (const text of typed) if (!this.all.some((chip) => chip.text.toLowerCase() === text.toLowerCase())) this.all.push({ text });
		this.tell();
		this.changed();
	}

	mark(words, place) {
		const chip = this.all.filter((one) => !one.wrong)[place];
		if (chip) chip.wrong = words;
		this.show();
		this.tell(chip ? "" : words);
		return !!chip;
	}

	tell(words = "") {
		put(this.wrong, words || this.all.filter((chip) => chip.wrong).map((chip) => `${chip.text}: ${chip.wrong}`).join(" "));
		this.input.ariaInvalid = words || this.bad ? true : null;
		put(this.list, this.all.map((chip, place) => h("li", { class: chip.wrong && "bad", title: chip.text },
			h("button", { onclick: () => this.#remove(place, true), label: `Edit ${chip.text}` }, chip.wrong ? chip.text : named(chip.text)),
			h("button.off", { onclick: () => this.#remove(place), label: `Remove ${chip.text}` }, "×"))));
	}

	#remove(place, edit) {
		if (this.input.readOnly) return;
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
}
