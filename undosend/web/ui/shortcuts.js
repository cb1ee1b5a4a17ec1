// What the keyboard does.
import { copier, curl, dialog, h } from "./dom.js";

const KEYS = [["c", "write an email"], ["/", "search"], ["j k", "next, previous"], ["z", "undo the last send"], ["Ctrl Enter", "send"], ["Esc", "back to the list"], ["?", "this"]];

export const shortcuts = () => dialog("Keyboard shortcuts", h("dl", { class: "keys" }, KEYS.map(([key, words]) => [h("dt", {}, key.split(" ").map((one) => h("kbd", {}, one))), h("dd", {}, words)])), h("footer", {}, copier(() => curl.line("GET", "/v1/emails"), "Copy the outbox as curl")));
