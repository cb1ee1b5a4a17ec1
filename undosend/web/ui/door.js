// Signing in with a key, where one is needed. The page never keeps it: the browser gets a cookie.
import { h, mark, put, wrong } from "./dom.js";

export function door(app, words) {
	const key = h("input", { type: "password", id: "key", autocomplete: "current-password", required: true, "aria-describedby": "why" });
	const why = wrong("why", words);
	const enter = async (e) => {
		e.preventDefault();
		try {
			await app.api.signIn(key.value.trim());
			await app.start();
		} catch (error) {
			put(why, error.status === 401 ? "No such key, or it has ended." : error.message);
			key.focus();
		}
	};
	put(document.body, h("main.door", h("form", { onsubmit: enter }, mark(), h("h1", "undosend"), h("p", "Send, and think again. Sign in with a key of this service."),
		h("label", { for: "key" }, "API key"), key, why, h("button.main", { type: "submit" }, "Sign in"), h("p.hint", "Its operator makes one: undosend keys create"))));
	key.focus();
}
