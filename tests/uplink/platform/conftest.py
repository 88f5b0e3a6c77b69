"""Fixtures: the platform on both of its databases; the same tests run on each."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.uplink.platform import postgres
from uplink.platform.serve import LocalPlatform
from uplink.platform.settings import Settings

CATALOGUE = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Address of a PostgreSQL server that lives as long as the tests."""
    why = postgres.missing()
    if why:
        pytest.skip(why)
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """None for the embedded database, else the address of an empty one."""
    if request.param == "sqlite":
        return None
    url: str = request.getfixturevalue("postgres_server")
    postgres.emptied(url)
    return url


@pytest.fixture
def settings(tmp_path: Path, database_url: str | None) -> Settings:
    """Defaults on either database."""
    return Settings(tmp_path / "platform", database_url=database_url, catalogue=CATALOGUE, merge_every_s=3600.0)


@pytest.fixture
def platform(settings: Settings) -> Iterator[LocalPlatform]:
    """A running platform on either database."""
    with LocalPlatform.start(settings) as running:
        yield running


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[LocalPlatform]:
    """A running platform with defaults."""
    with LocalPlatform.start(tmp_path / "embedded") as running:
        yield running


@pytest.fixture
def started(settings: Settings) -> Iterator[Callable[..., LocalPlatform]]:
    """Start a platform with some settings changed: started(people="tokens")."""
    running: list[LocalPlatform] = []

    def start(**changes: object) -> LocalPlatform:
        running.append(LocalPlatform.start(replace(settings, **changes)))  # type: ignore[arg-type]
        return running[-1]

    yield start
    for platform in running:
        platform.stop()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A port that nobody used a moment ago."""

    def choose() -> int:
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port: int = taken.getsockname()[1]
            return port

    return choose
