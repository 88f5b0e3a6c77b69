"""The vehicle's side of the fleet memory: fetch what changed around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import requests

from perception.serial import case_from_dict
from perception.types import Case, Tile


class SyncFailed(Exception):
    """The platform did not answer with what was asked for; try again later."""


@dataclass(frozen=True, slots=True)
class Delta:
    """Cases that changed, in the order of change; ask again with `cursor`, at once when there is `more`.

    `decisions` holds by case id what an officer decided ("" for nothing): a store must not overwrite newer local states
    with older ones (`Case.revision`), but a decision stands. `exact` ids carry the full split of their covariance.
    """

    cases: tuple[Case, ...]
    decisions: dict[str, str]
    exact: frozenset[str]
    cursor: str
    more: bool
    server_time: str


def fetch_delta(
    base_url: str,
    device: str,
    tiles: Sequence[Tile],
    cursor: str = "0.0",
    session: requests.Session | None = None,
    *,
    auth: Any = None,
    timeout_s: float = 20.0,
    limit: int = 500,
) -> Delta:
    """What changed in these tiles (at most 64, see `perception.store.tile_of`) since `cursor`.

    `auth` signs the request (RFC 9421) once the device is enrolled. Raises SyncFailed for a fault of link or server.
    """
    query: list[tuple[str, str]] = [("tile", f"{row},{column}") for row, column in tiles]
    query += [("since", cursor), ("limit", str(limit))]
    own = session or requests.Session()
    own.trust_env = False
    try:
        reply = own.get(
            f"{base_url.rstrip('/')}/v1/devices/{device}/cases", params=query, timeout=timeout_s, auth=auth,
            allow_redirects=False,
        )  # fmt: skip
        if reply.status_code != 200:
            raise SyncFailed(f"status {reply.status_code}: {reply.text[:200]}")
        tree = reply.json()
        rows = tree["cases"]
        cases = tuple(case_from_dict({k: v for k, v in row.items() if k not in ("decision", "exact")}) for row in rows)
        return Delta(
            cases, {row["id"]: row["decision"] for row in rows}, frozenset(r["id"] for r in rows if r["exact"]),
            tree["cursor"], tree["more"], tree["server_time"],
        )  # fmt: skip
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise SyncFailed(f"{type(error).__name__}: {error}") from error
    finally:
        if session is None:
            own.close()
