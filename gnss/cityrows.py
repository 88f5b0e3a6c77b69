"""From the features of a file to the city's things: ids checked, hours and days read, geometries built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gnss.calendar import CalendarError, day_of
from gnss.city import Component, Grid, Place, Road, Zone
from gnss.cityfile import CityFile
from gnss.errors import AtlasError
from gnss.features import Feature, FeatureError
from gnss.hours import HoursError, parse_hours
from gnss.ids import IdError, check_component, check_grid

Row = Grid | Zone | Component | Road | Place
ACCURACY_CLASSES = ("A", "B", "C")
MOST_MARGIN_M = 200.0


def rows(city: CityFile, key: str) -> Iterator[Row | FeatureError]:
    """The things of one member in order, an error in the place of each that cannot be used; none when it is absent.

    Raises AtlasError when the file as a whole cannot be read.
    """
    member = city.members.get(key)
    if member is None:
        return
    make = _MAKERS[key]
    for feature in member.features():
        if isinstance(feature, FeatureError):
            yield feature
            continue
        try:
            yield make(feature, city.facts.division)
        except FeatureError as error:
            yield error


def all_rows(city: CityFile, key: str) -> list[Any]:
    """The things of one member; raises FeatureError for the first that cannot be used or whose id stands twice."""
    found: list[Any] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows(city, key), 1):
        if isinstance(row, AtlasError):
            raise row
        if row.id in seen:
            raise duplicate(city, key, number, row.id, seen[row.id])
        seen[row.id] = number
        found.append(row)
    return found


def duplicate(city: CityFile, key: str, number: int, name: str, first: int) -> FeatureError:
    """The complaint about an id that stands twice."""
    return FeatureError(
        f"feature {number}: id {name[:60]!r} is that of feature {first} too", file=city.members[key].file,
        remedy="give each feature its own id", code="duplicate", number=number,
    )  # fmt: skip


def _grid(feature: Feature, division: str | None) -> Grid:
    try:
        name = check_grid(_id(feature), division)
    except IdError as error:
        feature.fail(str(error), "take the id from the city's unit grid table", f"id-{error.code}")
    return Grid(name, feature.text("name", ""), feature.polygon())


def _zone(feature: Feature, division: str | None) -> Zone:
    try:
        hours = parse_hours(feature.get("hours"))
    except HoursError as error:
        feature.fail(str(error), "write hours such as 'Mon-Fri 07:00-22:00; Sat,Sun 09:00-20:00'", "hours")
    margin = feature.number_of("margin_m", "metres") or 0.0
    if margin > MOST_MARGIN_M:
        feature.fail(f"margin_m is {margin:g}", f"write 0 to {MOST_MARGIN_M:g} m, or draw a larger zone")
    return Zone(
        id=feature.text("id"),
        kind=feature.text("kind"),
        name=feature.text("name", ""),
        hours=hours,
        dwell_s=feature.seconds("dwell_s"),
        polygon=feature.polygon(),
        classes=feature.words("classes"),
        margin_m=margin,
        from_day=_day(feature, "from"),
        to_day=_day(feature, "to"),
        permits=feature.words("permits"),
    )


def _component(feature: Feature, division: str | None) -> Component:
    try:
        parsed = check_component(_id(feature), division)
    except IdError as error:
        feature.fail(str(error), "take the id from the city's component register", f"id-{error.code}")
    accuracy = feature.get("accuracy_class")
    lat, lon = feature.point()
    return Component(
        id=parsed.text,
        type=feature.text("type", ""),
        code=feature.text("code", parsed.type_code),
        lat_deg=lat,
        lon_deg=lon,
        accuracy_class=None if accuracy is None or accuracy == "" else str(accuracy)[:8],
    )


def _road(feature: Feature, division: str | None) -> Road:
    return Road(
        feature.text("id", f"road-{feature.number}"), feature.text("name"), feature.text("name_en", ""), feature.line()
    )


def _place(feature: Feature, division: str | None) -> Place:
    lat, lon = feature.point()
    return Place(
        feature.text("id", f"place-{feature.number}"), feature.text("name"), feature.text("name_en", ""),
        feature.text("kind", ""), lat, lon,
    )  # fmt: skip


def _id(feature: Feature) -> object:
    """The id as it stands; a table without types may hold the digits as a number, which is read when it is exact."""
    value = feature.get("id")
    if value is None:
        feature.fail("property 'id' must be text, got None", "give the feature a property 'id'", "id-form")
    return value


def _day(feature: Feature, key: str) -> int | None:
    value = feature.get(key)
    if value is None or value == "":
        return None
    try:
        return day_of(value)
    except CalendarError as error:
        feature.fail(f"property '{key}': {error}", "write a date such as 2026-05-01")


_MAKERS: dict[str, Any] = {"grids": _grid, "zones": _zone, "components": _component, "roads": _road, "places": _place}
