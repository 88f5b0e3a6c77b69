"""A PostgreSQL with PostGIS for the tests: a server of its own, under the user `postgres`, on a socket in a folder.

It needs root (to become that user) and Debian's packages postgresql and postgresql-NN-postgis-3. Where something is
missing the tests are skipped, and say what.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS_MAY_SKIP = "PostgreSQL tests skipped"


def missing() -> str:
    """What a server would need and this machine lacks; "" when all is there."""
    if os.geteuid() != 0:
        return f"{TESTS_MAY_SKIP}: not root, so no server can run under its own user"
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return f"{TESTS_MAY_SKIP}: no user postgres (install Debian's package postgresql)"
    if binaries() is None:
        return f"{TESTS_MAY_SKIP}: no PostgreSQL server (install Debian's package postgresql)"
    if not list(Path("/usr/share/postgresql").glob("*/extension/postgis.control")):
        return f"{TESTS_MAY_SKIP}: no PostGIS (install Debian's package postgresql-15-postgis-3)"
    try:
        import psycopg_pool  # noqa: F401
    except ImportError:
        return f"{TESTS_MAY_SKIP}: no psycopg (the extra postgres)"
    return ""


def binaries() -> Path | None:
    """Folder of initdb and postgres, the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].parent if found else None


def as_postgres(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command as the user postgres; raises CalledProcessError with what it said."""
    entry = pwd.getpwnam("postgres")
    return subprocess.run(
        command, check=True, text=True, capture_output=True, user=entry.pw_uid, group=entry.pw_gid, extra_groups=[],
        cwd="/", env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, timeout=120,
    )  # fmt: skip


@contextmanager
def server() -> Iterator[str]:
    """A running server in a folder of its own; yields the address of its first database. fsync stays on."""
    tools = binaries()
    assert tools is not None
    entry = pwd.getpwnam("postgres")
    # Not in the test's folder: a socket's path may have 107 bytes, and that folder belongs to root alone.
    folder = Path(tempfile.mkdtemp(prefix="qiji-pg-"))
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    data = folder / "data"
    control = [str(tools / "pg_ctl"), "-D", str(data), "-w"]
    settings = f"-k {folder} -c listen_addresses='' -c max_connections=200 -c shared_buffers=128MB"
    try:
        as_postgres([str(tools / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "-E", "UTF8"])
        as_postgres([*control, "-o", settings, "-l", str(folder / "log"), "start"])
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            as_postgres([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def emptied(url: str) -> None:
    """Take every row of the platform's tables away: a thousand times faster than a new database with PostGIS."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN "
            "('migration', 'spatial_ref_sys')"
        ).fetchall()
        if rows:
            names = ", ".join(str(row[0]) for row in rows)
            connection.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE".encode())
