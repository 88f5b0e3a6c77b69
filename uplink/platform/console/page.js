// Small helpers: elements, requests, messages. Text from the platform is only ever set as text, never as HTML.
import { word } from "./words.js";

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children; listeners as on..., nothing for null, undefined or false. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for drawings. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export class Refused extends Error {
  constructor(status, type, detail) {
    super(`${status} ${type} ${detail}`);
    Object.assign(this, { status, type, detail });
  }
}

/** GET, or POST when there is a body; the JSON of the reply. Throws Refused with the problem's type. */
export async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const reply = await fetch(path, { cache: "no-store", credentials: "same-origin", ...options });
  if (reply.ok) return reply.status === 204 ? null : reply.json();
  const problem = await reply.json().catch(() => ({}));
  throw new Refused(reply.status, String(problem.type ?? "").split(":").at(-1), problem.detail ?? "");
}

let hiding = 0;

/** A message that goes by itself. */
export function toast(text, bad = false) {
  const box = $("toast");
  box.textContent = text;
  box.className = bad ? "bad" : "";
  box.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { box.hidden = true; }, bad ? 8000 : 2500);
}

/** Words in place of data-t (text) and data-l (label). */
export function speak() {
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = word(element.dataset.t);
  for (const element of document.querySelectorAll("[data-l]")) {
    element.setAttribute("aria-label", word(element.dataset.l));
    if (element.tagName === "BUTTON") element.title = word(element.dataset.l);
  }
}
