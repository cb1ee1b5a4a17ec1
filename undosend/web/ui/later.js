// A time to send at, picked in local time and told with its offset.
import { dialog, h, lasting, put, when, wrong } from "./dom.js";

// RFC 3339 with the offset that holds then and here.
function withOffset(date) {
	const local = new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
	return local + (date.toLocaleString("en", { timeZoneName: "longOffset" }).split("GMT")[1] || "Z");
}

export function pickTime(title, longest, use) {
	const now = Date.now(), last = new Date(now + longest * 1000), local = (time) => withOffset(new Date(time)).slice(0, 16);
	const day = (days, hour = 8) => { const d = new Date(now); d.setDate(d.getDate() + days); d.setHours(hour, 0, 0, 0); return d; };
	const choices = [["In an hour", new Date(now + 3_600_000)], ["This evening", day(0, 18)], ["Tomorrow morning", day(1)], ["Monday morning", day((8 - new Date(now).getDay()) % 7 || 7)]]
		.filter(([, at]) => at > now + 60_000 && at <= last).sort(([, one], [, other]) => one - other);
	const why = wrong();
	const field = h("input", { type: "datetime-local", min: local(now), max: local(last), value: local(Math.min(now + 3_600_000, last)), label: "Date and time" });
	const take = async (at) => {
		if (isNaN(at)) return put(why, "Pick a date and a time.");
		if (at <= Date.now()) return put(why, "This time has passed.");
		if (at > last) return put(why, `At most ${lasting(longest)} ahead.`);
		try {
			await use(withOffset(at));
			box.close();
		} catch (error) {
			put(why, error.message);
		}
	};
	const box = dialog(title, h("ul.choices", choices.map(([name, at]) => h("li", h("button.plain", { onclick: () => take(at) }, name, h("small", when(at)))))),
		h("div.pick", field, h("button.main", { onclick: () => take(new Date(field.value)) }, "Set")), why,
		h("p.hint", `Your local time (${Intl.DateTimeFormat().resolvedOptions().timeZone}), sent with its offset.`));
}
