// Signing in with a key, where one is needed. The page never keeps it: the browser gets a cookie.
import { h, put } from "./dom.js";
import { mark } from "./app.js";

export function door(app, words) {
  const key = h("input", { type: "password", id: "key", autocomplete: "current-password", required: true, "aria-describedby": "why" });
  const why = h("p", { class: "wrong", id: "why", role: "alert" }, words);
  const enter = async (e) => {
    e.preventDefault();
    try {
      await app.api.signIn(key.value.trim());
      await app.start();
    } catch (error) {
      put(why, error.message);
      key.focus();
    }
  };
  put(document.body, h("main", { class: "door" }, h("form", { onsubmit: enter }, mark(), h("h1", {}, "undosend"), h("p", {}, "Send, and think again. Sign in with a key of this service."),
    h("label", { htmlFor: "key" }, "API key"), key, why, h("button", { class: "main", type: "submit" }, "Sign in"), h("p", { class: "hint" }, "Its operator makes one with: undosend keys create"))));
  key.focus();
}
