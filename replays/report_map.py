"""The map of a report: plain SVG in metres (x east, y south) around one origin, drawn without internet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from gnss.geodesy import LocalFrame

Feature = Mapping[str, Any]
Point = tuple[float, float]

_ARROW = "M1.1 0L-.8 .75L-.3 0L-.8 -.75Z"
MARGIN_M = 15.0
SMALLEST_VIEW_M = 60.0
INSET_M = 14.0
"""Half the width of the small map on a case's card."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A numbered marker: `label` is drawn in it, `family` colours it, `anchor` is the id of its card."""

    anchor: str
    label: str
    family: str
    state: str
    title: str
    feature: Feature


class MapFrame:
    """Turns WGS-84 into drawing metres: x east, y south of the origin."""

    def __init__(self, points: Iterable[Point]) -> None:
        """`points` are (lat, lon); raises ValueError when there is none."""
        listed = list(points)
        if not listed:
            raise ValueError("a map needs at least one point")
        lats, lons = [p[0] for p in listed], [p[1] for p in listed]
        self._frame = LocalFrame((min(lats) + max(lats)) / 2, (min(lons) + max(lons)) / 2)
        corners = [self.xy(lon, lat) for lat, lon in listed]
        xs, ys = [c[0] for c in corners], [c[1] for c in corners]
        self.box = (min(xs) - MARGIN_M, min(ys) - MARGIN_M, max(xs) + MARGIN_M, max(ys) + MARGIN_M)

    def xy(self, lon_deg: float, lat_deg: float) -> Point:
        """Drawing coordinates in metres of a GeoJSON position."""
        east, north = self._frame.to_enu(lat_deg, lon_deg)
        return float(east), -float(north)

    def view_box(self) -> str:
        """The SVG viewBox that shows everything, at least SMALLEST_VIEW_M wide and high."""
        x0, y0, x1, y1 = self.box
        width, height = max(x1 - x0, SMALLEST_VIEW_M), max(y1 - y0, SMALLEST_VIEW_M)
        return f"{(x0 + x1 - width) / 2:.1f} {(y0 + y1 - height) / 2:.1f} {width:.1f} {height:.1f}"

    def holds(self, feature: Feature) -> bool:
        """Whether some vertex of the feature lies in the box, or the feature spans it."""
        xys = [self.xy(*p) for p in positions(feature)]
        if not xys:
            return False
        x0, y0, x1, y1 = self.box
        across = min(x for x, _ in xys) <= x1 and max(x for x, _ in xys) >= x0
        return across and min(y for _, y in xys) <= y1 and max(y for _, y in xys) >= y0


def positions(feature: Feature) -> list[Point]:
    """All (lon, lat) of a feature."""
    found: list[Point] = []
    stack: list[Any] = [feature["geometry"].get("coordinates", [])]
    while stack:
        item = stack.pop()
        if isinstance(item, Sequence) and len(item) >= 2 and all(isinstance(v, (int, float)) for v in item[:2]):
            found.append((float(item[0]), float(item[1])))
        elif isinstance(item, Sequence):
            stack.extend(item)
    return found


def _rings(feature: Feature) -> list[Sequence[Sequence[float]]]:
    geometry = feature["geometry"]
    if geometry["type"] == "Polygon":
        return list(geometry["coordinates"])
    if geometry["type"] == "MultiPolygon":
        return [ring for polygon in geometry["coordinates"] for ring in polygon]
    return []


def polygon_path(frame: MapFrame, feature: Feature, css: str, title: str) -> str:
    """A Polygon or MultiPolygon as one SVG path; empty text for other geometries."""
    parts = []
    for ring in _rings(feature):
        corners = [frame.xy(float(p[0]), float(p[1])) for p in ring]
        parts.append("M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in corners) + "Z")
    if not parts:
        return ""
    return f'<path class="{css}" fill-rule="evenodd" d="{"".join(parts)}"><title>{escape(title)}</title></path>'


def track_path(frame: MapFrame, feature: Feature) -> str:
    """One pass as a polyline; its title names drive, vehicle and times."""
    points = " ".join(f"{x:.2f},{y:.2f}" for x, y in (frame.xy(*p[:2]) for p in feature["geometry"]["coordinates"]))
    about = feature["properties"]
    title = f"{about.get('drive')} · {about.get('vehicle')} · {about.get('start') or ''} – {about.get('end') or ''}"
    return f'<polyline class="track" points="{points}"><title>{escape(title)}</title></polyline>'


def arrow_path(frame: MapFrame, feature: Feature) -> str:
    """Small triangles along a pass that show which way it was driven, about every 25 m."""
    corners = [frame.xy(*p[:2]) for p in feature["geometry"]["coordinates"]]
    drawn, walked, due = [], 0.0, 10.0
    for (xa, ya), (xb, yb) in pairwise(corners):
        step = math.hypot(xb - xa, yb - ya)
        walked += step
        if step > 0.05 and walked >= due:
            angle = math.degrees(math.atan2(yb - ya, xb - xa))
            drawn.append(f'<path d="{_ARROW}" transform="translate({xb:.2f} {yb:.2f}) rotate({angle:.0f})"/>')
            due = walked + 25.0
    return f'<g class="arrows">{"".join(drawn)}</g>'


def ellipse(frame: MapFrame, feature: Feature, css: str) -> str:
    """The 95 % ellipse of a case; empty text when the feature has none. `azimuth_deg` is clockwise from north."""
    about = feature["properties"]
    try:
        major, minor, azimuth = (float(about[k]) for k in ("semi_major_m", "semi_minor_m", "azimuth_deg"))
    except (KeyError, TypeError):
        return ""
    x, y = frame.xy(*feature["geometry"]["coordinates"][:2])
    turn = f"translate({x:.2f} {y:.2f}) rotate({azimuth - 90:.1f})"
    return f'<ellipse class="{css}" rx="{major:.3f}" ry="{minor:.3f}" transform="{turn}"/>'


def dot(frame: MapFrame, feature: Feature, css: str, radius_m: float, title: str) -> str:
    """A small circle in world metres."""
    x, y = frame.xy(*feature["geometry"]["coordinates"][:2])
    return f'<circle class="{css}" cx="{x:.2f}" cy="{y:.2f}" r="{radius_m}"><title>{escape(title)}</title></circle>'


def truth_cross(frame: MapFrame, feature: Feature) -> str:
    """A true object as a cross of 0.8 m; only those with a `kind` are full-coloured."""
    if feature["geometry"]["type"] != "Point":
        return ""
    x, y = frame.xy(*feature["geometry"]["coordinates"][:2])
    about = feature["properties"]
    css = "truth" if about.get("kind") else "truth faint"
    title = escape(f"truth {about.get('id')}: {about.get('kind') or about.get('class')}")
    path = f"M{x - 0.6:.2f} {y - 0.6:.2f}l1.2 1.2M{x + 0.6:.2f} {y - 0.6:.2f}l-1.2 1.2"
    return f'<path class="{css}" d="{path}"><title>{title}</title></path>'


def pin(frame: MapFrame, row: Pin) -> str:
    """A marker of constant size on the screen (the page's script scales class `pin`)."""
    x, y = frame.xy(*row.feature["geometry"]["coordinates"][:2])
    shape = '<path d="M0 0C-3.5 -8 -11 -11.5 -11 -19.5A11 11 0 0 1 11 -19.5C11 -11.5 3.5 -8 0 0Z"/>'
    if row.state == "candidate":
        shape = '<circle cy="-9" r="8"/>'
    y_text = -5.6 if row.state == "candidate" else -15.5
    return (
        f'<a href="#{row.anchor}" class="pin {row.family} {row.state}" data-x="{x:.2f}" data-y="{y:.2f}" '
        f'transform="translate({x:.2f} {y:.2f})"><title>{escape(row.title)}</title>{shape}'
        f'<text y="{y_text}">{escape(row.label)}</text></a>'
    )


def inset_width_m(feature: Feature) -> float:
    """How many metres the small map of a case spans."""
    return 2 * max(INSET_M, 1.3 * float(feature["properties"].get("semi_major_m") or 0.0))


def inset_box(frame: MapFrame, feature: Feature) -> str:
    """The viewBox of the small map around one case: at least its whole ellipse."""
    x, y = frame.xy(*feature["geometry"]["coordinates"][:2])
    half = inset_width_m(feature) / 2
    return f"{x - half:.2f} {y - half * 0.75:.2f} {2 * half:.2f} {1.5 * half:.2f}"
