// What the operator may do: a request, and a notice of what became of it.

import { make, say } from "./dom.js";

const NOTICE_S = 8;
const NOTICES_MAX = 3;

// Ask the gateway; the document that it answers, or an Error with the gateway's own words.
export async function ask(method, path, body = null) {
  const given = body === null ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  let response;
  try {
    response = await fetch(path, { method, ...given });
  } catch {
    throw new Error("The gateway cannot be reached.");
  }
  return answered(response);
}

export async function answered(response) {
  const document = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(document.message ?? `The gateway answered ${response.status}.`);
  return document;
}

// Do it and say so. `done` is what a notice says then.
export async function act(method, path, done) {
  try {
    await ask(method, path);
    notice(done);
  } catch (error) {
    notice(error.message, "alarm");
  }
}

export function notice(text, tone = null) {
  const place = document.getElementById("notices");
  const close = make("button", { type: "button", class: "small", "aria-label": "Close this message" }, "×");
  const element = make("div", { class: "notice", "data-tone": tone }, make("span", {}, text), close);
  close.addEventListener("click", () => element.remove());
  place.append(element);
  while (place.children.length > NOTICES_MAX) place.firstElementChild.remove();
  if (tone === null) setTimeout(() => element.remove(), NOTICE_S * 1000);
}

// Whether somebody says yes. Escape, and every other way out, is a no.
export function confirmed(title, text, yes) {
  const dialog = document.getElementById("confirm");
  say(document.getElementById("confirm-title"), title);
  say(document.getElementById("confirm-text"), text);
  say(document.getElementById("confirm-yes"), yes);
  document.getElementById("confirm-yes").onclick = () => dialog.close("yes");
  document.getElementById("confirm-no").onclick = () => dialog.close("no");
  dialog.returnValue = "no";
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
    document.getElementById("confirm-no").focus();
  });
}
