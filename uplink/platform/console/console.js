// The console: list, map and case page over GET /v1/cases. Text from cases is only ever set as text, never as HTML.
import { CaseMap } from "./map.js";
import { changeWord, currentLanguage, timeText, toggleLanguage, word } from "./words.js";

const REFRESH_MS = 3000;
const STATES = ["open", "monitoring", "reopened", "resolved"];
const $ = (id) => document.getElementById(id);
const view = { cases: [], devices: [], selected: location.hash.slice(1) || null, detail: null, broken: false, drawn: "" };

/** An element with attributes and children; a class by `class`. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

async function fetchJson(path) {
  const reply = await fetch(path, { cache: "no-store" });
  if (!reply.ok) throw new Error(`${path}: ${reply.status}`);
  return reply.json();
}

async function fetchCases() {
  const include = $("candidates").checked ? "&include=candidates" : "";
  const found = [];
  for (let after = "", page; ; after = page.cases.at(-1).case_id) {
    page = await fetchJson(`/v1/cases?limit=1000${include}&after=${encodeURIComponent(after)}`);
    found.push(...page.cases);
    if (page.cases.length < 1000) return found;
  }
}

async function refresh() {
  try {
    const [cases, devices] = await Promise.all([fetchCases(), fetchJson("/v1/devices")]);
    Object.assign(view, { cases, devices: devices.devices, broken: false });
    const listed = cases.find((item) => item.case_id === view.selected);
    if (view.selected && (!view.detail || view.detail.case_id !== view.selected || listed?.updated !== view.detail.updated
        || listed?.evidence_state !== view.detail.evidence_state)) {
      view.detail = await fetchJson(`/v1/cases/${encodeURIComponent(view.selected)}`).catch(() => null);
    }
  } catch (error) {
    console.warn(error);
    view.broken = true;
  }
  render();
}

function shown() {
  const state = $("state").value, kind = $("kind").value;
  return view.cases.filter((item) => (!state || item.state === state) && (!kind || item.kind === kind));
}

async function select(caseId) {
  view.selected = caseId;
  view.detail = null;
  history.replaceState(null, "", caseId ? `#${caseId}` : location.pathname);
  if (caseId) view.detail = await fetchJson(`/v1/cases/${encodeURIComponent(caseId)}`).catch(() => null);
  render();
  if (view.detail) map.show(view.detail);
}

const chip = (state) => make("span", { class: `chip ${state}` }, word(state));
const source = (picture) => `/v1/blobs/${picture.sha256}`;

function thumbnail(item) {
  const best = item.evidence.find((p) => p.available && p.role === "close_up") ?? item.evidence.find((p) => p.available);
  if (best) return make("img", { src: source(best), alt: "", loading: "lazy" });
  return make("span", { class: "noimage" }, word(item.evidence.length ? "awaiting" : "no_picture"));
}

function renderList(cases) {
  const rows = cases.map((item) => make("li", {},
    make("button", { type: "button", "aria-current": String(item.case_id === view.selected), onclick: () => select(item.case_id) },
      thumbnail(item),
      make("span", {},
        make("b", {}, word(item.kind)), chip(item.state),
        make("div", { class: "sub" }, `${timeText(item.last_seen_utc)} · ±${item.ellipse.semi_major_m.toFixed(1)} m`)))));
  $("list").replaceChildren(...(rows.length ? rows : [make("li", { class: "empty" }, word("empty"))]));
}

function renderFilters() {
  const fill = (select, first, values) => {
    const chosen = select.value;
    select.replaceChildren(make("option", { value: "" }, word(first)), ...values.map((v) => make("option", { value: v }, word(v))));
    select.value = values.includes(chosen) ? chosen : "";
  };
  fill($("state"), "all_states", $("candidates").checked ? [...STATES, "candidate"] : STATES);
  fill($("kind"), "all_kinds", [...new Set(view.cases.map((item) => item.kind))].sort());
}

function renderFrame(cases) {
  document.documentElement.lang = currentLanguage() === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = word(element.dataset.t);
  $("language").textContent = word("language");
  $("summary").className = view.broken ? "broken" : "";
  $("summary").textContent = view.broken ? word("broken") : `${cases.length} ${word("cases")} · ${view.devices.length} ${word("devices")}`;
  const states = STATES.concat($("candidates").checked ? ["candidate"] : []);
  $("legend").replaceChildren(...states.map((state) => {
    const dot = make("i");
    dot.style.background = `var(--${state === "candidate" ? "other" : state})`;
    return make("div", {}, dot, word(state));
  }));
}

function figure(picture) {
  const label = `${word(picture.role)} · ${timeText(picture.utc)}`;
  const image = picture.available
    ? make("img", { src: source(picture), alt: label, tabindex: "0", onclick: () => enlarge(picture) })
    : make("span", { class: "noimage" }, word("awaiting"));
  return make("figure", {}, image, make("figcaption", {}, label));
}

function enlarge(picture) {
  $("viewer").firstElementChild.src = source(picture);
  $("viewer").showModal();
}

function facts(pairs) {
  return make("dl", {}, ...pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .flatMap(([name, value]) => [make("dt", {}, word(name)), make("dd", {}, value)]));
}

function probability(value) {
  const fill = make("i");
  fill.style.width = `${value * 100}%`;
  return make("span", {}, `${(value * 100).toFixed(1)} %`, make("div", { class: "bar" }, fill));
}

function placeFacts(item) {
  const { semi_major_m: major, semi_minor_m: minor, azimuth_deg: azimuth } = item.ellipse;
  const budget = Object.entries(item.error_budget_m).map(([name, metres]) => `${name} ${metres.toFixed(2)} m`).join(" · ");
  const match = item.component;
  return facts([
    ["position", `${item.position.lat_deg.toFixed(7)}, ${item.position.lon_deg.toFixed(7)} (${item.position.datum})`],
    ["ellipse", `${major.toFixed(2)} × ${minor.toFixed(2)} m, ${azimuth.toFixed(0)}°`], ["budget", budget], ["grid", item.grid], ["zone", item.zone],
    ["component", match && `${match.id} (${(match.probability * 100).toFixed(0)} %)`],
    ["runner_up", match?.runner_up && `${match.runner_up} (${(match.runner_up_probability * 100).toFixed(0)} %)`],
  ]);
}

function historyList(item) {
  return make("ol", { class: "history" }, ...item.history.map((step) => make("li", {},
    make("b", {}, changeWord(step.change)), " ", chip(step.state),
    make("div", {}, step.change_reason + (step.canonical ? "" : word("not_canonical"))),
    make("div", { class: "sub" }, `${timeText(step.changed_utc)} · ${step.vehicle} · ${word("revision")} ${step.revision}`))));
}

function renderCase(item) {
  $("case").hidden = !item;
  if (!item) return $("case").replaceChildren();
  const heading = (name) => make("h3", {}, word(name));
  $("case").replaceChildren(
    make("div", { class: "top" },
      make("div", {}, make("h2", {}, word(item.kind)), chip(item.state), make("span", { class: "sub" }, `  ${item.SXDM}  ${item.SXMC}`)),
      make("button", { type: "button", "aria-label": word("close"), onclick: () => select(null) }, "✕")),
    make("div", { class: "pictures" }, ...(item.evidence.length ? item.evidence.map(figure) : [make("span", { class: "noimage" }, word("no_picture"))])),
    heading("why"), make("div", { class: "why" }, item.reason),
    heading("place"), placeFacts(item),
    heading("numbers"), facts([["existence", probability(item.existence)], ["confidence", probability(item.confidence)], ["passes", String(item.passes)], ["grade", item.evidence_grade]]),
    heading("facts"), facts([
      ["id", item.case_id], ["vehicle", item.vehicle], ["first_seen", timeText(item.first_seen_utc)], ["last_seen", timeText(item.last_seen_utc)],
      ["clear_look", item.last_clear_look_utc && timeText(item.last_clear_look_utc)]]),
    heading("history"), historyList(item));
}

/** Redraw only when something changed, so that a refresh never disturbs reading or focus. */
function render() {
  renderFrame(view.cases);
  const key = JSON.stringify([view.cases, view.detail, view.selected, currentLanguage(), $("state").value, $("kind").value]);
  if (key === view.drawn) return;
  renderFilters();
  const cases = shown();
  renderList(cases);
  renderCase(view.detail);
  map.setCases(cases, view.selected);
  view.drawn = JSON.stringify([view.cases, view.detail, view.selected, currentLanguage(), $("state").value, $("kind").value]);
}

const map = new CaseMap($("map"), {
  onPick: (item) => select(item ? item.case_id : null),
  onHover: (item, x, y) => {
    $("hint").hidden = !item;
    if (item) {
      $("hint").textContent = `${word(item.kind)} · ${word(item.state)}`;
      $("hint").style.left = `${x}px`;
      $("hint").style.top = `${y}px`;
    }
  },
});
$("state").addEventListener("change", render);
$("kind").addEventListener("change", render);
$("candidates").addEventListener("change", refresh);
$("language").addEventListener("click", () => { toggleLanguage(); render(); });
$("zoom-in").addEventListener("click", () => map.zoom(1.5));
$("zoom-out").addEventListener("click", () => map.zoom(1 / 1.5));
$("fit").addEventListener("click", () => map.fit());
$("viewer").addEventListener("click", () => $("viewer").close());
addEventListener("keydown", (e) => { if (e.key === "Escape" && view.selected && !$("viewer").open) select(null); });
refresh();
setInterval(refresh, REFRESH_MS);
