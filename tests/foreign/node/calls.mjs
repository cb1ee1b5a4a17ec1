// Makes calls of the resend SDK for a process that speaks another language: one JSON line in, one out.
// In:  {"call": "emails.send", "arguments": […]}, where {"Buffer": "<base64>"} and its like are bytes.
// Out: what the SDK returned.

import { createInterface } from "node:readline";
import { Resend } from "resend";

const BYTES = {
  Buffer: (bytes) => bytes,
  Uint8Array: (bytes) => new Uint8Array(bytes),
  ArrayBuffer: (bytes) => new Uint8Array(bytes).buffer,
};

function revived(_, value) {
  const [kind, ...others] = Object.keys(value ?? {});
  const made = others.length === 0 && typeof value === "object" ? BYTES[kind] : undefined;
  return made ? made(Buffer.from(value[kind], "base64")) : value;
}

const resend = new Resend("re_whatever", { baseUrl: process.argv[2] });

for await (const line of createInterface({ input: process.stdin })) {
  const { call, arguments: given } = JSON.parse(line, revived);
  const [group, method] = call.split(".");
  console.log(JSON.stringify(await resend[group][method](...given)));
}
