"""A city's rules as data: who may not stand where, where stalls may trade, what is a heap, and under which code.

The file (TOML, `rules` in city.toml) says what a city decides: zone kinds, classes, metres, seconds. How sure a
judgement must be is tuning of the car (RuleParams). Without a file the rules of `models/directory/rules.toml` hold,
which are the defaults below written out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from perception.catalogue import Catalogue
from perception.errors import CityError

MOTOR = ("motor",)
BIKES = ("non_motor",)
GROUPS = {"illegal_parking": "motor", "illegal_parking_bike": "non_motor"}
"""Words for all vehicle classes of a kind, so that a class that a trainer adds is meant as well."""

STATES = {
    "manhole_open": "丢失", "manhole_broken": "破损", "guardrail_damaged": "破损", "sign_damaged": "破损",
    "pole_fallen": "破损", "bin_damaged": "破损", "lamp_damaged": "破损",
}  # fmt: skip
"""管理部件状态 that a class shows; the standard knows 完好, 破损, 丢失, 废弃, 移除."""

COMPONENT_STATES = ("完好", "破损", "丢失", "废弃", "移除")


@dataclass(frozen=True, slots=True)
class Ban:
    """Vehicles of `classes` must not stand in zones of this kind; `dwell_s` where the zone itself has none.

    `classes` are catalogue names, or motor and non_motor.
    """

    zone: str
    kind: str
    classes: tuple[str, ...] = MOTOR
    dwell_s: float | None = None


@dataclass(frozen=True, slots=True)
class Bay:
    """Vehicles of `classes` (empty: all) may stand in zones of this kind, whatever forbids the street around them."""

    zone: str
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Near:
    """Vehicles must not stand within `within_m` of a register component of one of `codes` (a stop, a hydrant)."""

    name: str
    codes: tuple[str, ...]
    within_m: float
    kind: str
    classes: tuple[str, ...] = MOTOR
    dwell_s: float | None = None


@dataclass(frozen=True, slots=True)
class DoubleParking:
    """A vehicle beside a standing row is parked in the second row when it is still there `dwell_s` later."""

    kind: str = "illegal_parking"
    dwell_s: float = 300.0


@dataclass(frozen=True, slots=True)
class StallPlace:
    """A stall in a zone of this kind is a matter of this kind; places are asked in order."""

    zone: str
    kind: str


@dataclass(frozen=True, slots=True)
class Garbage:
    """A pile test: below `least_m` across it is a wrapper, below `pile_m` it must still lie there `persist_s` later.

    Within `beside_m` of a bin of the register (`bin_codes`) it is a matter of `beside_kind`.
    """

    least_m: float = 0.2
    pile_m: float = 0.4
    persist_s: float = 1800.0
    bin_codes: tuple[str, ...] = ("03005",)
    beside_m: float = 1.5
    beside_kind: str = "exposed_garbage"


@dataclass(frozen=True, slots=True)
class RuleBook:
    """All rules of one city. `states` are 管理部件状态 by detector class; `codes` (matter kind, code) by case kind."""

    name: str = ""
    unsure_dwell_s: float = 180.0
    sensitive: tuple[str, ...] = ("sensitive",)
    sensitive_probability: float = 0.05
    permit_zone: str = "permit"
    bans: tuple[Ban, ...] = (
        Ban("no_parking", "illegal_parking"),
        Ban("no_stopping", "illegal_parking"),
        Ban("bus_stop", "illegal_parking", dwell_s=0.0),
        Ban("school", "illegal_parking", dwell_s=0.0),
        Ban("fire_lane", "fire_lane_blocked", MOTOR + BIKES),
        Ban("accessible_path", "accessible_path_blocked", MOTOR + BIKES),
        Ban("no_bike_parking", "illegal_parking_bike", BIKES),
    )
    bays: tuple[Bay, ...] = (Bay("parking_bay"), Bay("bike_bay", BIKES))
    nears: tuple[Near, ...] = ()
    double_parking: DoubleParking | None = None
    vending_allowed: tuple[str, ...] = ("vending_allowed",)
    stalls: tuple[StallPlace, ...] = (StallPlace("shop_front", "shop_spill_out"),)
    garbage: Garbage = Garbage()
    states: Mapping[str, str] = field(default_factory=lambda: dict(STATES))
    codes: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def applied(self, catalogue: Catalogue) -> Catalogue:
        """The catalogue with the city's own codes."""
        if not self.codes:
            return catalogue
        kinds = dict(catalogue.kinds)
        for name, (matter_kind, code) in self.codes.items():
            if name in kinds:
                kinds[name] = replace(kinds[name], matter_kind=matter_kind, code=code)
        return Catalogue(catalogue.classes, kinds)

    def check(self, catalogue: Catalogue, file: Path) -> None:
        """Raise CityError for the first class or kind that the catalogue does not have."""
        kinds = [*self.codes, self.garbage.beside_kind, *(place.kind for place in self.stalls)]
        kinds += [*(ban.kind for ban in self.bans), *(near.kind for near in self.nears)]
        kinds += [] if self.double_parking is None else [self.double_parking.kind]
        named = [*(b.classes for b in self.bans), *(b.classes for b in self.bays), *(n.classes for n in self.nears)]
        classes = [name for names in named for name in names] + [*self.states]
        words = ((kinds, [*catalogue.kinds], "case kind"), (classes, [*GROUPS.values(), *catalogue.classes], "class"))
        for names, known, what in words:
            for name in names:
                if name not in known:
                    raise CityError(f"there is no {what} {name!r}", file=file, remedy=f"use one of {sorted(known)}")


_T = TypeVar("_T")
_TOP = {"version", "name", "general", "ban", "bay", "near", "double_parking", "vending", "garbage", "component", "code"}
_GENERAL = ("unsure_dwell_s", "sensitive", "sensitive_probability", "permit_zone")
_REMEDY = "see docs/city.md, rules"
MOST_NUMBER = 1e6


def checked_rules(texts: Mapping[str, str], catalogue: Catalogue, file: Path) -> RuleBook:
    """`rules_of`, held against the catalogue; raises CityError for a class or kind that does not exist."""
    book = rules_of(texts, file)
    book.check(catalogue, file)
    return book


def rules_of(texts: Mapping[str, str], file: Path) -> RuleBook:
    """The rules among a city's texts (key `rules`), the defaults when there are none. `file` is named in complaints."""
    return RuleBook() if "rules" not in texts else parse_rules(texts["rules"], file)


def parse_rules(text: str, file: Path) -> RuleBook:
    """Read a rule file. A table that is absent keeps its default; a list that is there replaces the default's.

    Raises CityError that names the table, the key and the remedy.
    """
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise CityError(f"the rules are no TOML ({error})", file=file, remedy="mend the line named") from error
    _known(tree, _TOP, file, "rules")
    if tree.get("version") != 1:
        raise CityError(f"rules: version is {tree.get('version')!r}", file=file, remedy="write version = 1")
    book: dict[str, Any] = {}
    general = _table(tree, "general", file)
    _known(general, set(_GENERAL), file, "general")
    types = {f.name: str(f.type) for f in fields(RuleBook)}
    for key, value in general.items():
        book[key] = _value(value, types[key], file, f"[general] {key}")
    if isinstance(tree.get("name", ""), str):
        book["name"] = tree.get("name", "")
    for key, made, name in (("ban", Ban, "bans"), ("bay", Bay, "bays"), ("near", Near, "nears")):
        if key in tree:
            book[name] = tuple(_rows(made, tree[key], file, key))
    if "double_parking" in tree:
        book["double_parking"] = _row(DoubleParking, _table(tree, "double_parking", file), file, "[double_parking]")
    vending = _table(tree, "vending", file)
    _known(vending, {"allowed", "place"}, file, "vending")
    if "allowed" in vending:
        book["vending_allowed"] = _value(vending["allowed"], "tuple[str, ...]", file, "[vending] allowed")
    if "place" in vending:
        book["stalls"] = tuple(_rows(StallPlace, vending["place"], file, "vending.place"))
    if "garbage" in tree:
        book["garbage"] = _row(Garbage, _table(tree, "garbage", file), file, "[garbage]")
    book |= {"states": _states(tree, file)} if "component" in tree else {}
    book |= {"codes": _codes(tree, file)} if "code" in tree else {}
    return RuleBook(**book)


def _known(table: Mapping[str, Any], known: set[str], file: Path, where: str) -> None:
    for key in table:
        if key not in known:
            raise CityError(f"[{where}] has unknown key {key!r}", file=file, remedy=f"use one of {sorted(known)}")


def _table(tree: Mapping[str, Any], key: str, file: Path) -> dict[str, Any]:
    table = tree.get(key, {})
    if not isinstance(table, dict):
        raise CityError(f"{key} is no table", file=file, remedy=f"write [{key}]")
    return table


def _rows(made: type[_T], rows: object, file: Path, key: str) -> Iterator[_T]:
    if not isinstance(rows, list):
        raise CityError(f"{key} is no list", file=file, remedy=f"write [[{key}]]")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise CityError(f"[[{key}]] {number} is no table", file=file, remedy=_REMEDY)
        yield _row(made, row, file, f"[[{key}]] {number}")


def _row(made: type[_T], table: dict[str, Any], file: Path, where: str) -> _T:
    types = {f.name: str(f.type) for f in fields(made)}  # type: ignore[arg-type]
    _known(table, set(types), file, where.strip("[]"))
    values = {key: _value(value, types[key], file, f"{where} {key}") for key, value in table.items()}
    try:
        return made(**values)
    except TypeError as error:
        raise CityError(
            f"{where} is incomplete: {str(error).split('missing ')[-1]}", file=file, remedy=_REMEDY
        ) from error


def _value(value: object, kind: str, file: Path, where: str) -> Any:
    """A value of the type that the field is annotated with; numbers are finite, not negative and no larger than 1e6."""
    if kind.startswith("float"):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= MOST_NUMBER:
            raise CityError(
                f"{where} is {value!r}", file=file, remedy="write a number from 0 on, with its unit's meaning"
            )
        return float(value)
    if kind.startswith("tuple"):
        if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
            raise CityError(f"{where} is {value!r}", file=file, remedy='write a list of words, ["car", "bus"]')
        return tuple(value)
    if not isinstance(value, str) or not value:
        raise CityError(f"{where} is {value!r}", file=file, remedy="write a word in quotes")
    return value


def _states(tree: Mapping[str, Any], file: Path) -> dict[str, str]:
    found = {}
    for name, row in _table(tree, "component", file).items():
        state = row.get("state") if isinstance(row, dict) and set(row) == {"state"} else None
        if state not in COMPONENT_STATES:
            said = f"[component.{name}] must have one key, state"
            raise CityError(said, file=file, remedy=f"write one of {', '.join(COMPONENT_STATES)}")
        found[name] = state
    return found


def _codes(tree: Mapping[str, Any], file: Path) -> dict[str, tuple[str, str]]:
    found = {}
    for name, row in _table(tree, "code", file).items():
        pair = (row.get("matter_kind"), row.get("code")) if isinstance(row, dict) else (None, None)
        if pair[0] not in ("matter", "component") or not isinstance(pair[1], str) or len(row) != 2:
            said = f"[code.{name}] must have matter_kind and code"
            raise CityError(said, file=file, remedy='write matter_kind = "matter" and code = "09006"')
        found[name] = (pair[0], pair[1])
    return found
