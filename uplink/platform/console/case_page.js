// The page of one case: pictures, why, place with error budget and register match, passes, history; and its actions.
import { $, draw, make } from "./page.js";
import { changeWord, timeText, word } from "./words.js";

const source = (picture) => `/v1/blobs/${picture.sha256}`;
const METRES_PER_DEG = 111319.49;

export const chip = (state) => make("span", { class: `chip ${state}` }, word(state));

function figure(picture) {
  const label = `${word(picture.role)} · ${timeText(picture.utc)}`;
  const image = picture.available
    ? make("button", { type: "button", class: "picture", "aria-label": label, onclick: () => enlarge(picture, label) }, make("img", { src: source(picture), alt: "" }))
    : make("span", { class: "noimage" }, word("awaiting"));
  return make("figure", { class: picture.role }, image, make("figcaption", {}, label));
}

export function enlarge(picture, label) {
  const image = $("viewer").querySelector("img");
  image.src = source(picture);
  image.alt = label;
  $("viewer").showModal();
}

function facts(pairs) {
  return make("dl", {}, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .flatMap(([name, value]) => [make("dt", {}, word(name)), make("dd", {}, value)]));
}

function bar(share, text) {
  const fill = make("i");
  fill.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return make("span", { class: "measure" }, make("span", {}, text), make("span", { class: "bar", "aria-hidden": "true" }, fill));
}

const percent = (value) => bar(value, `${(value * 100).toFixed(1)} %`);

function budgetRows(item) {
  const parts = Object.entries(item.error_budget_m);
  const most = Math.max(...parts.map(([, metres]) => metres), 0.01);
  return parts.map(([name, metres]) => [name.endsWith("_m") ? name : `${name}_m`, bar(metres / most, `${metres.toFixed(2)} m`)]);
}

function place(item) {
  const { semi_major_m: major, semi_minor_m: minor, azimuth_deg: azimuth } = item.ellipse;
  return [
    facts([
      ["position", `${item.position.lat_deg.toFixed(7)}, ${item.position.lon_deg.toFixed(7)} (${item.position.datum})`],
      ["ellipse", `${major.toFixed(2)} × ${minor.toFixed(2)} m, ${azimuth.toFixed(0)}°`], ["grid", item.grid], ["zone", item.zone]]),
    make("h4", {}, word("budget")), facts(budgetRows(item)),
    make("h4", {}, word("register")), register(item.component)];
}

function register(match) {
  if (!match) return make("p", { class: "sub" }, word("no_match"));
  const named = (id, chance) => make("span", {}, make("code", {}, id), percent(chance));
  return facts([["component", named(match.id, match.probability)],
    ["runner_up", match.runner_up && named(match.runner_up, match.runner_up_probability)], ["code", match.code]]);
}

/** Metres east and north of the case's place. */
function offset(item, sight) {
  const east = (sight.lon_deg - item.position.lon_deg) * METRES_PER_DEG * Math.cos(item.position.lat_deg * Math.PI / 180);
  return [east, (sight.lat_deg - item.position.lat_deg) * METRES_PER_DEG];
}

function passPlot(item) {
  const points = item.sights.map((sight) => offset(item, sight));
  const reach = Math.max(item.ellipse.semi_major_m, ...points.map(([e, n]) => Math.hypot(e, n)), 0.5) * 1.15;
  const scale = 70 / reach;
  const ring = draw("ellipse", { rx: item.ellipse.semi_major_m * scale, ry: item.ellipse.semi_minor_m * scale, class: "ring",
    transform: `rotate(${item.ellipse.azimuth_deg - 90})` });
  const dots = points.map(([e, n]) => draw("circle", { cx: e * scale, cy: -n * scale, r: 3.2, class: "dot" }));
  const picture = draw("svg", { viewBox: "-75 -75 150 150", class: "plot", role: "img" }, ring, draw("path", { d: "M-6 0H6M0-6V6", class: "cross" }), ...dots);
  picture.setAttribute("aria-label", word("pass_map"));
  return make("div", { class: "plot-box" }, picture, make("p", { class: "sub" }, word("pass_map")));
}

function passList(item, chosen) {
  const rows = item.sights.map((sight) => {
    const [east, north] = offset(item, sight);
    const box = make("input", { type: "checkbox", "aria-label": `${word("split")} ${sight.pass_id}`, checked: chosen.has(sight.pass_id),
      onchange: (e) => { if (e.target.checked) chosen.add(sight.pass_id); else chosen.delete(sight.pass_id); } });
    return make("tr", {}, make("td", {}, item.sights.length > 1 ? box : null), make("td", {}, timeText(sight.utc)),
      make("td", { class: "id" }, sight.pass_id), make("td", {}, `${Math.hypot(east, north).toFixed(2)} m`));
  });
  return make("div", { class: "passes" }, passPlot(item), make("table", {},
    make("thead", {}, make("tr", {}, make("th", {}, make("span", { class: "hidden" }, word("split"))), make("th", {}, word("time")), make("th", {}, word("pass")), make("th", {}, word("off_centre")))),
    make("tbody", {}, rows)));
}

function told(step) {
  const parts = [step.reason && word(step.reason), step.note, step.assignee, step.into && `${word("into")} ${step.into}`,
    step.united_with && `+ ${step.united_with}`, step.reported_as && `${word("reported_as")} ${step.reported_as}`, step.from && `${word("from")} ${step.from}`];
  return parts.filter(Boolean).join(" · ");
}

function historyList(item) {
  const reports = item.history.map((step) => ({ at: step.received, text: step.change_reason + (step.canonical ? "" : word("not_canonical")),
    sub: `${timeText(step.changed_utc)} · ${step.vehicle} · ${word("revision")} ${step.revision}${step.signed ? ` · ${word(`signed_${step.signed}`)}` : ""}`, change: step.change, state: step.state }));
  const decisions = item.decisions.map((step) => ({ at: step.at, text: told(step), change: step.change, state: step.state, person: true,
    sub: `${timeText(step.at)} · ${step.actor === "platform" ? word("platform_actor") : step.actor} · ${word("revision")} ${step.revision}` }));
  const steps = [...reports, ...decisions].sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  return make("ol", { class: "history" }, steps.map((step) => make("li", { class: step.person && "person" },
    make("b", {}, changeWord(step.change)), " ", chip(step.state), make("div", {}, step.text), make("div", { class: "sub" }, step.sub))));
}

/** The bar of actions; `may` is false for people who only look. */
function actions(item, act, may) {
  if (!may || item.state === "merged") return null;
  const button = (name, label, key, extra = "") => make("button", { type: "button", class: extra, "data-action": name, onclick: () => act(name),
    "aria-keyshortcuts": key }, word(label), key && make("kbd", { "aria-hidden": "true" }, key.toUpperCase()));
  const shut = item.state === "rejected" || item.state === "resolved";
  return make("div", { class: "actions", role: "toolbar", "aria-label": word("more") },
    shut ? button("reopen", "reopen", null, "main") : button("accept", "accept", "a", "main"),
    item.state === "rejected" ? null : button("reject", "reject", "r", "danger"),
    shut ? null : button("close", "close_case", "c"),
    button("assign", "assign", null, "quiet"), button("merge", "merge", null, "quiet"),
    item.sights.length > 1 ? button("split", "split", null, "quiet") : null);
}

/** Draw the page of `item` (null: hide it). `chosen` holds the passes ticked for a split. */
export function renderCase(item, { act, close, may, chosen }) {
  const page = $("case");
  page.hidden = !item;
  document.body.classList.toggle("has-case", Boolean(item));
  if (!item) return page.replaceChildren();
  const heading = (name) => make("h3", {}, word(name));
  const decided = item.decision && !["rejected", "merged"].includes(item.decision) ? chip(item.decision) : null;
  const scrolled = page.dataset.id === item.case_id ? page.scrollTop : 0;
  page.dataset.id = item.case_id;
  page.replaceChildren(
    make("div", { class: "top" },
      make("div", {}, make("h2", {}, word(item.kind)), chip(item.state), decided, make("div", { class: "sub" }, `${item.SXDM}  ${item.SXMC}`)),
      make("button", { type: "button", class: "x", "aria-label": word("close"), onclick: close }, "✕")),
    ...[actions(item, act, may)].filter(Boolean),
    make("div", { class: "pictures" }, item.evidence.length ? item.evidence.map(figure) : make("span", { class: "noimage" }, word("no_picture"))),
    heading("why"), make("div", { class: "why" }, item.reason),
    heading("place"), ...place(item),
    heading("numbers"), facts([["existence", percent(item.existence)], ["confidence", percent(item.confidence)], ["grade", word(item.evidence_grade)]]),
    make("h3", {}, `${word("passes")}: ${item.sights.length}`), passList(item, chosen),
    heading("facts"), facts([
      ["id", make("code", {}, item.case_id)], ["assignee", item.assignee], ["vehicle", item.vehicle], ["first_seen", timeText(item.first_seen_utc)],
      ["last_seen", timeText(item.last_seen_utc)], ["clear_look", item.last_clear_look_utc && timeText(item.last_clear_look_utc)]]),
    heading("history"), historyList(item));
  page.scrollTop = scrolled;
}
