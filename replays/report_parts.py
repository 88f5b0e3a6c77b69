"""The written parts of a report: case cards, ledger, timings, facts. Everything shown is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from perception.catalogue import CaseKind
from replays.report_map import MapFrame, Pin, inset_box, inset_width_m

MOST_INSETS = 60
INSET_PX = 168
_ROLES = {"close_up": "close-up 近景", "context": "context 全景", "gone": "gone 已消失"}
_STATES = {
    "candidate": "待确认", "open": "已立案", "monitoring": "跟踪中", "resolved": "已消除",
    "reopened": "重新立案", "withdrawn": "已撤销",
}  # fmt: skip


def cards(
    pins: Sequence[Pin],
    frame: MapFrame | None,
    kinds: Mapping[str, CaseKind],
    pictures: Mapping[str, Sequence[Mapping[str, Any]]],
    total: int,
) -> str:
    """Cards of cases in order; says so when there are more than are shown, or none."""
    if not pins:
        return '<p class="empty">None in this run.</p>'
    shown = [_card(row, frame if n < MOST_INSETS else None, kinds, pictures) for n, row in enumerate(pins)]
    more = "" if total == len(pins) else f'<p class="note">{total - len(pins)} more are in cases.geojson.</p>'
    return f'<div class="cards">{"".join(shown)}</div>{more}'


def _card(
    row: Pin, frame: MapFrame | None, kinds: Mapping[str, CaseKind], pictures: Mapping[str, Sequence[Mapping[str, Any]]]
) -> str:
    about = row.feature["properties"]
    kind = kinds.get(about["kind"])
    title, title_zh = (about["kind"], "") if kind is None else (kind.title, kind.title_zh)
    state = str(about["state"])
    shots = list(pictures.get(about["id"], ()))
    inset = "" if frame is None else _inset(row, frame)
    return (
        f'<article class="card {row.family} {escape(state)}" id="{row.anchor}">'
        f'<div class="pictures">{"".join(_picture(p, title) for p in shots) or _NO_PICTURE}</div>'
        f'<div class="body"><header><span class="number">{escape(row.label)}</span>'
        f'<h3>{escape(title)} <span lang="zh">{escape(title_zh)}</span></h3>'
        f'<span class="state">{escape(state)} <span lang="zh">{_STATES.get(state, "")}</span></span></header>'
        f'<p class="reason">{escape(str(about["reason"]))}</p>'
        f'<div class="split"><dl>{_details(row)}</dl>{inset}</div></div></article>'
    )


_NO_PICTURE = '<div class="nopicture">no picture<br><span lang="zh">无图片</span></div>'


def _picture(picture: Mapping[str, Any], title: str) -> str:
    role = _ROLES.get(str(picture["role"]), str(picture["role"]))
    caption = f"{role} · {picture['camera']}" + (f" · {str(picture['utc'])[11:19]}" if picture.get("utc") else "")
    return (
        f'<figure class="{escape(str(picture["role"]))}"><img loading="lazy" alt="{escape(title)}, {escape(role)}" '
        f'src="{picture["data"]}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _inset(row: Pin, frame: MapFrame) -> str:
    x, y = frame.xy(*row.feature["geometry"]["coordinates"][:2])
    return (
        f'<a class="inset" href="#map" data-x="{x:.2f}" data-y="{y:.2f}" title="show on the map">'
        f'<svg viewBox="{inset_box(frame, row.feature)}" style="--px:{inset_width_m(row.feature) / INSET_PX:.4f}" '
        'preserveAspectRatio="xMidYMid slice">'
        '<use href="#world"/></svg></a>'
    )


def _details(row: Pin) -> str:
    about = row.feature["properties"]
    lon, lat = row.feature["geometry"]["coordinates"][:2]
    component = about.get("component")
    rows: list[tuple[str, str]] = [
        ("Code", f"{about['code']} ({about['matter_kind']})"),
        ("Position", f"{lat:.7f}, {lon:.7f}"),
        ("95 % ellipse", _ellipse(about)),
        ("Existence", f"{float(about['existence']):.3f} · confidence {float(about['confidence']):.2f}"),
        ("Passes", str(about["passes"])),
        ("Seen", _span(about.get("first_seen"), about.get("last_seen"))),
        ("Clear looks", _span(about.get("first_clear_look"), about.get("last_clear_look"))),
        ("Grid · zone", " · ".join(str(v) for v in (about.get("grid"), about.get("zone")) if v)),
        ("Component", "" if not component else f"{component['id']} (p = {component['probability']:.2f})"),
        ("Error budget", ", ".join(f"{k} {v:.2f} m" for k, v in sorted((about.get("error_budget") or {}).items()))),
        ("Evidence", f"grade {about['evidence_grade']}" if about.get("evidence_grade") else ""),
        ("Id", str(about["id"])),
    ]
    return "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows if v)


def _ellipse(about: Mapping[str, Any]) -> str:
    try:
        major, minor, azimuth = (float(about[k]) for k in ("semi_major_m", "semi_minor_m", "azimuth_deg"))
    except (KeyError, TypeError):
        return ""
    return f"{major:.2f} × {minor:.2f} m, major axis {azimuth:.0f}°"


def _span(first: object, last: object) -> str:
    """`2026-03-31 23:33:20 – 23:33:24 UTC`: the second date only when it is another day."""
    begin, end = (str(text)[:19].replace("T", " ") if text else "" for text in (first, last))
    if not begin or not end or begin == end:
        return f"{begin or end} UTC" if begin or end else ""
    return f"{begin} – {end[11:] if begin[:10] == end[:10] else end} UTC"


def ledger_table(ledger: Mapping[str, Any]) -> str:
    """Ends of all tracks with their reasons; the last row is the sum, which equals the tracks that began."""
    rows = []
    for end, row in ledger["ends"].items():
        if not row["total"]:
            continue
        reasons = "".join(
            f"<li><b>{count}</b> {escape(reason)}</li>"
            for reason, count in sorted(row["reasons"].items(), key=lambda item: (-item[1], item[0]))
        )
        rows.append(f'<tr><th>{escape(end)}</th><td class="n">{row["total"]}</td><td><ul>{reasons}</ul></td></tr>')
    body = "".join(rows) or '<tr><td colspan="3" class="empty">No track in this run.</td></tr>'
    total = f'<td class="n">{ledger["tracks"]}</td><td>each ended in exactly one state</td>'
    foot = f'<tr class="sum"><th>all tracks</th>{total}</tr>'
    data = "".join(f"<tr><th>{escape(k)}</th><td>{escape(_plain(v))}</td></tr>" for k, v in _flat(ledger["data"]))
    counters = (
        f'<h3>What was read and dropped</h3><div class="wide"><table class="pairs">{data}</table></div>' if data else ""
    )
    head = '<tr><th>end</th><th class="n">tracks</th><th>reasons</th></tr>'
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{body}{foot}</tbody></table></div>{counters}'


def timing_table(timings: Mapping[str, Any]) -> str:
    """Timings as rows; numbers in milliseconds get a bar against the longest one of their unit."""
    flat = _flat(timings)
    millis = [float(v) for k, v in flat if _is_millis(k, v)]
    longest = max(millis, default=0.0)
    rows = []
    for key, value in flat:
        bar = ""
        if _is_millis(key, value) and longest > 0:
            bar = f'<i class="bar" style="width:{100 * float(value) / longest:.1f}%"></i>'
        rows.append(
            f'<tr><th>{escape(key)}</th><td class="n">{escape(_plain(value))}</td><td class="bars">{bar}</td></tr>'
        )
    body = "".join(rows) or '<tr><td class="empty">Not measured.</td></tr>'
    return f'<div class="wide"><table class="timings">{body}</table></div>'


def _is_millis(key: str, value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and key.endswith(("_ms", " ms", "mean_ms"))


def _flat(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name} · ")
        else:
            rows.append((name, value))
    return rows


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(v) for v in value)
    return str(value)


def fact_list(facts: Sequence[tuple[str, str]]) -> str:
    """Facts of the drives and the model as label and value."""
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts)
    return (
        f'<div class="wide"><table class="pairs">{rows}</table></div>' if rows else '<p class="empty">None given.</p>'
    )
