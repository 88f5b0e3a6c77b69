// The console: list with filters, map, case page and decisions, live over GET /v1/stream.
import { renderCase, chip } from "./case_page.js";
import { CaseMap } from "./canvas_map.js";
import { $, ask, make, speak, toast } from "./page.js";
import { currentLanguage, shortTime, toggleLanguage, word } from "./words.js";

const LISTED = ["open", "monitoring", "reopened", "resolved"];
const STATES = [...LISTED, "candidate", "rejected", "withdrawn", "merged"];
const REASONS = ["not_there", "wrong_kind", "lawful", "duplicate", "not_ours", "poor_evidence", "other"];
const PERIODS = { ever: 0, day: 1, week: 7, month: 30 };
const MOST = 5000, MOST_ROWS = 600, POLL_MS = 30000;
const view = { session: null, cases: [], total: 0, devices: [], tracks: [], kinds: new Set(), grids: new Set(), selected: decodeURIComponent(location.hash.slice(1)) || null,
  detail: null, broken: false, chosen: new Set() };
let map = null, asked = 0, waiting = null;

function query() {
  const parts = new URLSearchParams();
  const state = $("state").value, days = PERIODS[$("period").value] ?? 0;
  if (state) parts.set("state", state);
  for (const name of ["kind", "grid"]) if ($(name).value.trim()) parts.set(name, $(name).value.trim());
  if (Number($("confidence").value)) parts.set("confidence", $("confidence").value / 100);
  if (days) parts.set("seen_after", new Date(Date.now() - days * 86400e3).toISOString());
  return parts;
}

async function fetchCases() {
  const found = [], parts = query();
  for (let after = ""; ; ) {
    parts.set("limit", 1000);
    parts.set("after", after);
    const page = await ask(`/v1/cases?${parts}`);
    found.push(...page.cases);
    if (page.cases.length < 1000 || found.length >= MOST) return [found, page.total];
    after = page.cases.at(-1).case_id;
  }
}

/** Ask for everything that is shown; a reply that was overtaken by a newer question is dropped. */
async function refresh() {
  const mine = ++asked;
  try {
    const detail = view.selected ? ask(`/v1/cases/${encodeURIComponent(view.selected)}`).catch((e) => { if (e.status === 404) return null; throw e; }) : null;
    const [[cases, total], devices, tracks, shown] = await Promise.all([fetchCases(), ask("/v1/devices"), ask("/v1/tracks"), detail]);
    if (mine !== asked) return;
    cases.sort((a, b) => String(b.last_seen_utc ?? "").localeCompare(String(a.last_seen_utc ?? "")) || a.case_id.localeCompare(b.case_id));
    Object.assign(view, { cases, total, devices: devices.devices, tracks: tracks.tracks, detail: shown, broken: false });
    for (const item of cases) {
      view.kinds.add(item.kind);
      if (item.grid) view.grids.add(item.grid);
    }
  } catch (error) {
    if (mine !== asked) return;
    if (error.status === 401) return login();
    console.warn(error);
    view.broken = true;
  }
  render();
}

function soon(ms = 250) {
  clearTimeout(waiting);
  waiting = setTimeout(refresh, ms);
}

async function select(caseId, { focus = false } = {}) {
  view.selected = caseId;
  view.chosen.clear();
  history.replaceState(null, "", caseId ? `#${encodeURIComponent(caseId)}` : location.pathname);
  view.detail = caseId ? await ask(`/v1/cases/${encodeURIComponent(caseId)}`).catch(() => null) : null;
  render();
  if (view.detail) map?.show(view.detail);
  if (focus && view.detail) $("case").focus();
  if (!caseId) document.querySelector("#list button[aria-current=true], #list button")?.focus({ preventScroll: true });
}

function thumbnail(item) {
  const best = item.evidence.find((p) => p.available && p.role === "close_up") ?? item.evidence.find((p) => p.available);
  if (best) return make("img", { src: `/v1/blobs/${best.sha256}/thumbnail`, alt: "", loading: "lazy", width: 72, height: 58 });
  return make("span", { class: "noimage" }, word(item.evidence.length ? "awaiting" : "no_picture"));
}

function row(item) {
  const current = item.case_id === view.selected;
  return make("li", {}, make("button", { type: "button", "data-id": item.case_id, "aria-current": String(current), onclick: () => select(item.case_id, { focus: true }) },
    thumbnail(item),
    make("span", { class: "text" },
      make("b", {}, word(item.kind)),
      make("span", { class: "chips" }, chip(item.state), item.decision && item.decision !== item.state ? chip(item.decision) : null),
      make("span", { class: "sub" }, `${shortTime(item.last_seen_utc)} · ±${item.ellipse.semi_major_m.toFixed(1)} m · ${(item.confidence * 100).toFixed(0)} %`),
      item.grid ? make("span", { class: "sub" }, item.grid) : null)));
}

function renderList() {
  const focused = document.activeElement?.dataset?.id, scrolled = $("list").scrollTop;
  const rows = view.cases.slice(0, MOST_ROWS).map(row);
  $("list").replaceChildren(...(rows.length ? rows : [make("li", { class: "empty" }, word("empty"))]));
  $("list").scrollTop = scrolled;
  if (focused) document.querySelector(`#list button[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function fill(select, options) {
  const chosen = select.value;
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  select.value = options.some(([value]) => value === chosen) ? chosen : options[0][0];
}

function renderFilters() {
  fill($("state"), [["", word("all_states")], ...STATES.map((s) => [s, word(s)])]);
  fill($("kind"), [["", word("all_kinds")], ...[...view.kinds].sort().map((k) => [k, word(k)])]);
  fill($("period"), Object.keys(PERIODS).map((p) => [p, word(p)]));
  $("grid-list").replaceChildren(...[...view.grids].sort().slice(0, 300).map((g) => make("option", { value: g })));
  $("confidence-text").textContent = `${$("confidence").value} %`;
  const active = [...query().keys()].length;
  $("active-filters").textContent = active ? String(active) : "";
}

function renderFrame() {
  document.documentElement.lang = currentLanguage() === "zh" ? "zh-CN" : "en";
  speak();
  $("language").textContent = word("language");
  const shown = Math.min(view.cases.length, MOST_ROWS), of = view.total > shown ? `${shown} ${word("of_all")} ${view.total}` : view.total;
  $("summary").className = view.broken ? "broken" : "";
  const text = view.broken ? word("broken") : `${of} ${word("cases")} · ${view.devices.length} ${word("devices")}`;
  if ($("summary").textContent !== text) $("summary").textContent = text;
  const states = [...new Set([...LISTED, ...view.cases.map((item) => item.state)])];
  $("legend").replaceChildren(...states.map((state) => make("div", {}, make("i", { class: `dot ${state}` }), word(state))));
  for (const button of $("panes").children) button.setAttribute("aria-pressed", String(document.body.dataset.pane === button.dataset.show));
}

function render() {
  renderFilters();
  renderFrame();
  renderList();
  renderCase(view.detail, { act, close: () => select(null), chosen: view.chosen, may: ["officer", "admin"].includes(view.session?.person?.role) });
  map?.setTracks(view.tracks);
  map?.setCases(view.cases, view.selected);
}

async function decide(action, fields = {}) {
  const item = view.detail;
  if (!item) return;
  try {
    const reply = await ask(`/v1/cases/${encodeURIComponent(item.case_id)}/actions`, { action, base_revision: item.revision, ...fields });
    toast(`${word("done")}: ${word(action === "close" ? "close_case" : action)} · ${word(reply.state)}`);
    view.chosen.clear();
  } catch (error) {
    toast(error.type === "stale-revision" ? word("stale") : `${word("failed")}: ${error.detail || error.message}`, true);
  }
  await refresh();
}

function act(name) {
  if (!view.detail) return;
  if (name === "reject") return askReason();
  if (name === "assign") return askText("ask_assign", view.detail.assignee ?? "", (assignee) => decide("assign", { assignee }));
  if (name === "merge") return askText("ask_merge", "", (into) => decide("merge", { into }));
  if (name === "split") {
    if (!view.chosen.size) return toast(word("select_passes"), true);
    return decide("split", { passes: [...view.chosen] });
  }
  return decide(name);
}

function buttons(danger) {
  return make("div", { class: "row" }, make("button", { value: "cancel", formnovalidate: true }, word("cancel")),
    make("button", { value: "ok", class: danger ? "danger" : "main" }, word("confirm")));
}

/** Why a case is rejected: by mouse, or by 1-7 and Enter. */
function askReason() {
  const reasons = REASONS.map((name, k) => make("label", {}, make("input", { type: "radio", name: "reason", value: name, required: true, checked: k === 0 }),
    make("kbd", {}, String(k + 1)), ` ${word(name)}`));
  const note = make("textarea", { rows: 2, maxlength: 500, "aria-label": word("note"), placeholder: word("note") });
  $("reject-form").replaceChildren(make("h2", {}, word("reject_title")), ...reasons, note, buttons(true));
  $("reject").onkeydown = (e) => {
    if (e.target === note || !/^[1-7]$/.test(e.key)) return;
    const box = $("reject-form").querySelectorAll("input[name=reason]")[Number(e.key) - 1];
    box.checked = true;
    box.focus();
  };
  $("reject").onclose = () => {
    const reason = $("reject-form").querySelector("input[name=reason]:checked")?.value;
    if ($("reject").returnValue === "ok" && reason) decide("reject", { reason, note: note.value.trim() });
  };
  $("reject").returnValue = "cancel";
  $("reject").showModal();
  $("reject-form").onkeydown = (e) => { if (e.key === "Enter" && e.target !== note && e.target.tagName === "INPUT") { e.preventDefault(); $("reject").close("ok"); } };
  $("reject-form").querySelector("input").focus();
}

function askText(title, value, then) {
  const box = make("input", { value, maxlength: 100, required: true, "aria-label": word(title), list: title === "ask_merge" ? "case-ids" : null });
  const ids = make("datalist", { id: "case-ids" }, view.cases.filter((c) => c.kind === view.detail.kind && c.case_id !== view.detail.case_id).slice(0, 100)
    .map((c) => make("option", { value: c.case_id }, shortTime(c.last_seen_utc))));
  $("ask-form").replaceChildren(make("h2", {}, word(title)), box, ids, buttons(false));
  $("ask").onclose = () => { if ($("ask").returnValue === "ok" && box.value.trim()) then(box.value.trim()); };
  $("ask").returnValue = "cancel";
  $("ask-form").onkeydown = (e) => { if (e.key === "Enter") { e.preventDefault(); if (box.value.trim()) $("ask").close("ok"); } };
  $("ask").showModal();
  box.focus();
}

function help() {
  const keys = [["↑ ↓ / K J", "key_move"], ["A", "key_accept"], ["R", "key_reject"], ["C", "key_close"], ["P", "key_picture"], ["Esc", "key_escape"], ["L", "key_language"], ["?", "key_help"]];
  $("help-form").replaceChildren(make("h2", {}, word("keys")),
    make("dl", {}, keys.flatMap(([key, name]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, word(name))])),
    make("div", { class: "row" }, make("button", { value: "ok", class: "main" }, word("close"))));
  $("help").showModal();
}

function login() {
  if ($("login").open) return;
  const box = make("input", { type: "password", required: true, autocomplete: "current-password", "aria-label": word("token"), placeholder: word("token") });
  const wrong = make("p", { class: "broken", role: "alert" });
  $("login-form").replaceChildren(make("h2", {}, word("login")), box, wrong, make("div", { class: "row" }, make("button", { class: "main" }, word("login"))));
  $("login").oncancel = (e) => e.preventDefault();
  $("login-form").onsubmit = async (e) => {
    e.preventDefault();
    try {
      await ask("/v1/session", { token: box.value.trim() });
      location.reload();
    } catch (error) {
      wrong.textContent = error.status === 401 || error.status === 422 ? word("login_wrong") : `${word("failed")}: ${error.status ?? ""}`;
    }
  };
  $("login").showModal();
}

function move(step) {
  const at = view.cases.findIndex((item) => item.case_id === view.selected);
  const next = view.cases[Math.max(0, Math.min(view.cases.length - 1, at < 0 ? 0 : at + step))];
  if (!next) return;
  select(next.case_id).then(() => {
    const button = document.querySelector(`#list button[data-id="${CSS.escape(next.case_id)}"]`);
    button?.focus({ preventScroll: true });
    button?.scrollIntoView({ block: "nearest" });
  });
}

function onKey(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName) && e.target.type !== "checkbox") return;
  if (e.target.closest?.("#map") && e.key.startsWith("Arrow")) return;
  const press = (name) => document.querySelector(`#case [data-action=${name}]`)?.click();
  const keys = {
    ArrowDown: () => move(1), j: () => move(1), ArrowUp: () => move(-1), k: () => move(-1), "?": help, l: () => $("language").click(),
    Escape: () => view.selected && select(null), a: () => press("accept"), r: () => press("reject"),
    c: () => press("close"), p: () => document.querySelector("#case .picture")?.click(),
  };
  const does = keys[e.key.length === 1 ? e.key.toLowerCase() : e.key];
  if (does) { e.preventDefault(); does(); }
}

function layers() {
  const chosen = { ellipses: $("show-ellipses").checked, grids: $("show-grids").checked, tracks: $("show-tracks").checked };
  map?.show_layers(chosen);
}

async function openMap() {
  const hooks = {
    tiles: view.session.tiles, credit: view.session.tiles_credit, grids: view.session.grids,
    onReady: () => { document.body.dataset.map = "ready"; layers(); },
    onPick: (item) => select(item ? item.case_id : null),
    onHover: (item, x, y, grid) => {
      $("hint").hidden = !item && !grid;
      $("hint").textContent = item ? `${word(item.kind)} · ${word(item.state)}` : grid ?? "";
      $("hint").style.left = `${x}px`;
      $("hint").style.top = `${y}px`;
    },
  };
  try {
    const { GlMap } = await import("./gl_map.js");
    map = new GlMap($("map"), hooks);
    document.body.dataset.engine = "gl";
  } catch (error) {
    console.warn("plain map:", error.message);
    document.body.dataset.engine = "plain";
    map = new CaseMap($("map"), hooks);
  }
  $("credit").textContent = view.session.tiles_credit;
  $("credit").hidden = !view.session.tiles || !view.session.tiles_credit;
  $("show-grids").closest("label").hidden = !view.session.grids;
}

function listen() {
  const stream = new EventSource("/v1/stream");
  stream.addEventListener("change", () => soon());
  stream.addEventListener("hello", () => soon(0));
  stream.onerror = () => { view.broken = stream.readyState !== EventSource.OPEN; renderFrame(); };
  setInterval(() => { if (stream.readyState !== EventSource.OPEN) refresh(); }, POLL_MS);
  setInterval(() => { if (stream.readyState === EventSource.CLOSED) { stream.close(); location.reload(); } }, 10 * POLL_MS);
}

function wire() {
  $("filter-form").addEventListener("input", () => { renderFilters(); soon(); });
  $("filter-form").addEventListener("submit", (e) => e.preventDefault());
  $("filter-form").addEventListener("reset", () => setTimeout(() => { renderFilters(); soon(0); }));
  for (const id of ["show-ellipses", "show-grids", "show-tracks"]) $(id).addEventListener("change", layers);
  $("language").addEventListener("click", () => { toggleLanguage(); render(); });
  $("help-button").addEventListener("click", help);
  $("zoom-in").addEventListener("click", () => map?.zoom(1.5));
  $("zoom-out").addEventListener("click", () => map?.zoom(1 / 1.5));
  $("fit").addEventListener("click", () => map?.fit());
  $("viewer").addEventListener("click", () => $("viewer").close());
  for (const button of $("panes").children) {
    button.addEventListener("click", () => {
      document.body.dataset.pane = button.dataset.show;
      renderFrame();
      // The map was as large as it is now only from this moment on.
      if (button.dataset.show === "map" && !view.selected) setTimeout(() => map?.fit(false), 50);
    });
  }
  addEventListener("keydown", onKey);
  addEventListener("hashchange", () => select(decodeURIComponent(location.hash.slice(1)) || null));
  if (matchMedia("(max-width: 900px)").matches) $("filters").open = false;
}

async function start() {
  speak();
  renderFilters();
  wire();
  try {
    view.session = await ask("/v1/session");
  } catch {
    view.broken = true;
    renderFrame();
    return setTimeout(() => location.reload(), 5000);
  }
  if (!view.session.person) return login();
  await openMap();
  await refresh();
  if (view.detail) map.show(view.detail);
  listen();
}

start();
