"""How a platform is set up; everything has a default that is right on one's own machine."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from perception.errors import SetupError
from uplink.platform.limits import Limits


@dataclass(frozen=True, slots=True)
class Settings:
    """`people`: "open" lets everybody who reaches the address act (own machine only), "tokens" asks for a token.

    `devices`: "open" takes unknown devices too, "enrolled" only those with a key. A device that has a key must sign in
    both. `tiles` is a URL template with {z}, {x}, {y}; None: no background map. `catalogue` is the folder of
    classes.toml and kinds.toml: without it nothing is merged. `merge_every_s`: pause of the background work.
    """

    data_dir: Path
    database_url: str | None = None
    people: str = "open"
    devices: str = "open"
    tiles: str | None = None
    tiles_credit: str = ""
    city: Path | None = None
    catalogue: Path | None = None
    webhook_origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    merge_every_s: float = 2.0
    workers: int = 1

    def check(self, host: str) -> None:
        """Raises SetupError for what must not be served on this address, or cannot work."""
        if self.people not in ("open", "tokens") or self.devices not in ("open", "enrolled"):
            raise SetupError("people is open or tokens, devices is open or enrolled", remedy="choose one of them")
        if self.people == "open" and not is_own_machine(host):
            remedy = "add people (`qiji platform person add NAME`) and serve with --people tokens"
            raise SetupError(f"{host} can be reached by others, and anybody could decide on cases", remedy=remedy)
        if self.workers > 1 and self.database_url is None:
            remedy = "give --database postgresql://..., or one worker"
            raise SetupError("the embedded database belongs to one process", remedy=remedy)
        tile_origin(self.tiles)


def is_own_machine(host: str) -> bool:
    """Is this address reached from this machine only?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tile_origin(tiles: str | None) -> str:
    """Origin of the background tiles for the content policy, "" without any; raises SetupError for a bad template."""
    if tiles is None or tiles.startswith("/"):
        return ""
    parts = urlsplit(tiles)
    if parts.scheme not in ("http", "https") or not parts.netloc or any(c in parts.netloc for c in " ;,'\"{}"):
        raise SetupError(f"tile address {tiles!r} is no http(s) address", remedy="https://host/{z}/{x}/{y}.png")
    if not all(f"{{{name}}}" in tiles for name in "zxy"):
        raise SetupError(f"tile address {tiles!r} lacks {{z}}, {{x}} or {{y}}", remedy="https://host/{z}/{x}/{y}.png")
    return f"{parts.scheme}://{parts.netloc}"
