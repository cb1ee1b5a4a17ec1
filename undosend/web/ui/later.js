// A time to send at, picked in local time and told with its offset.
import { dialog, h, lasting, local, put, when, withOffset } from "./dom.js";

export function pickTime(title, longest, use) {
  const now = Date.now(), last = new Date(now + longest * 1000);
  const day = (days, hour = 8) => { const d = new Date(now + days * 86_400_000); d.setHours(hour, 0, 0, 0); return d; };
  const monday = (8 - new Date(now).getDay()) % 7 || 7;
  const choices = ([["In an hour", new Date(now + 3_600_000)], ["This evening", day(0, 18)], ["Tomorrow morning", day(1)], ["Monday morning", day(monday)]])
    .filter(([, at]) => +at > now + 60_000 && at <= last);
  const wrong = h("p", { class: "wrong", role: "alert" });
  const field = h("input", { type: "datetime-local", min: local(new Date(now)), max: local(last), value: local(new Date(Math.min(now + 3_600_000, +last))), "aria-label": "Date and time", required: true });
  const take = async (at) => {
    if (Number.isNaN(+at)) return put(wrong, "Pick a date and a time.");
    if (+at <= Date.now()) return put(wrong, "This time has passed.");
    if (at > last) return put(wrong, `At most ${lasting(longest)} ahead.`);
    try {
      await use(withOffset(at));
      box.close();
    } catch (error) {
      put(wrong,  (error).message);
    }
  };
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const box = dialog(title, h("ul", { class: "choices" }, choices.map(([name, at]) => h("li", {}, h("button", { class: "plain", onclick: () => take(at) }, h("span", {}, name), h("small", {}, when(at.toISOString())))))),
    h("div", { class: "pick" }, field, h("button", { class: "main", onclick: () => take(new Date(field.value)) }, "Set")), wrong,
    h("p", { class: "hint" }, `Your local time (${zone}). It is sent with its offset, so it means the same everywhere.`));
}
