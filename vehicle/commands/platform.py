"""`qiji platform`: serve the reference platform with its console, and look after its devices, people and cases."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from gnss.clock import SystemClock
from perception.catalogue import load_catalogue
from perception.errors import SetupError
from uplink.platform.export import export_rejected
from uplink.platform.people import ROLES, Registry
from uplink.platform.serve import serve
from uplink.platform.settings import Settings
from uplink.platform.storage import Storage, open_storage
from uplink.platform.uploads import Pictures
from vehicle.config import MODELS
from vehicle.terminal import print_json

DATA = Path("platform-data")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("platform", help="the reference platform that receives cases")
    verbs = p.add_subparsers(dest="verb", required=True)
    _add_serve(verbs)
    v = verbs.add_parser("export", help="rejected cases as a training set for the detector")
    _add_place(v)
    v.add_argument("out", type=Path, metavar="DIR", help="a new folder")
    v.add_argument("--rejected", action="store_true", required=True, help="what officers said the detector got wrong")
    v.add_argument("--all-reasons", action="store_true", help="rejections for other reasons too")
    v.add_argument("--json", action="store_true")
    v.set_defaults(handle=handle_export)
    _add_device(verbs)
    _add_person(verbs)


def _add_place(v: argparse.ArgumentParser) -> None:
    v.add_argument("--data", type=Path, default=DATA, help="folder of its database and pictures")
    v.add_argument("--database", metavar="URL", help="postgresql://user@host/name instead of the embedded database")


def _add_serve(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    v = verbs.add_parser("serve", help="serve the intake and the console")
    _add_place(v)
    v.add_argument("--host", default="127.0.0.1")
    v.add_argument("--port", type=int, default=8600)
    v.add_argument("--workers", type=int, default=1, metavar="N", help="processes (several need --database)")
    v.add_argument("--people", choices=("open", "tokens"), default="open", help="who may look and decide")
    v.add_argument("--devices", choices=("open", "enrolled"), default="open", help="who may deliver")
    v.add_argument("--tiles", metavar="URL", help="background map, https://host/{z}/{x}/{y}.png")
    v.add_argument("--tiles-credit", default="", metavar="TEXT", help="whose map it is")
    v.add_argument("--city", type=Path, metavar="city.toml", help="grids and zones on the map")
    v.add_argument("--webhook-origin", action="append", default=[], metavar="URL", help="https://host that may be told")
    v.set_defaults(handle=handle)


def _add_device(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    v = verbs.add_parser("device", help="enrol or revoke devices")
    v.add_argument("action", choices=("invite", "revoke", "list"))
    v.add_argument("name", nargs="?", default="")
    v.add_argument("--why", default="", help="told to the device when it is refused")
    _add_place(v)
    v.set_defaults(handle=handle_device)


def _add_person(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    v = verbs.add_parser("person", help="give people access, or take it away")
    v.add_argument("action", choices=("add", "revoke"))
    v.add_argument("name")
    v.add_argument("--role", choices=ROLES, default="officer")
    _add_place(v)
    v.set_defaults(handle=handle_person)


def handle(arguments: argparse.Namespace) -> int:
    """Serve until stopped."""
    if not 1 <= arguments.workers <= 64:
        raise SetupError(f"{arguments.workers} workers", remedy="1 to 64")
    settings = Settings(
        arguments.data,
        database_url=arguments.database,
        people=arguments.people,
        devices=arguments.devices,
        tiles=arguments.tiles,
        tiles_credit=arguments.tiles_credit,
        city=arguments.city,
        catalogue=MODELS,
        webhook_origins=tuple(arguments.webhook_origin),
        workers=arguments.workers,
    )
    settings.check(arguments.host)
    print(f"console: http://{arguments.host}:{arguments.port}/", flush=True)
    serve(arguments.host, arguments.port, settings)
    return 0


@contextmanager
def _storage(arguments: argparse.Namespace) -> Iterator[Storage]:
    """The platform's database; raises SetupError when there is none yet."""
    if arguments.database is None and not (arguments.data / "platform.sqlite").is_file():
        raise SetupError("holds no platform", file=arguments.data, remedy="name the folder given to `serve --data`")
    storage = open_storage(arguments.data, arguments.database)
    try:
        yield storage
    finally:
        storage.close()


def handle_export(arguments: argparse.Namespace) -> int:
    """Write the training set; exit 0 also when it is empty."""
    names = sorted(load_catalogue(MODELS).classes)
    with _storage(arguments) as storage:
        pictures = Pictures(arguments.data / "blobs", sweep=False)
        done = export_rejected(storage, pictures, names, arguments.out, everything=arguments.all_reasons)
    if arguments.json:
        print_json(asdict(done))
    else:
        print(f"{done.cases} rejected cases with {done.pictures} pictures in {arguments.out}")
        if done.skipped:
            print(f"{done.skipped} rejected for other reasons than a wrong detection (--all-reasons takes them too)")
        if done.missing:
            print(f"{done.missing} pictures have not arrived")
    return 0


def handle_device(arguments: argparse.Namespace) -> int:
    """Invite, revoke or list. Exit 1 when there is no such device."""
    if arguments.action != "list" and not arguments.name:
        raise SetupError(f"{arguments.action} needs a device", remedy=f"qiji platform device {arguments.action} NAME")
    with _storage(arguments) as storage:
        registry = Registry(storage, SystemClock())
        if arguments.action == "invite":
            print(f"code for {arguments.name}, good once within a week: {registry.invite(arguments.name)}")
        elif arguments.action == "revoke":
            if not registry.revoke_device(arguments.name, arguments.why):
                print(f"no device {arguments.name}")
                return 1
            print(f"{arguments.name} is refused from now on")
        else:
            for row in storage.rows("SELECT id, public_key, revoked_ns FROM device ORDER BY id"):
                state = "revoked" if row["revoked_ns"] else "enrolled" if row["public_key"] else "open"
                print(f"{row['id']}  {state}")
    return 0


def handle_person(arguments: argparse.Namespace) -> int:
    """Add (also: a new token) or revoke. Exit 1 when there is no such person."""
    with _first_storage(arguments) as storage:
        registry = Registry(storage, SystemClock())
        if arguments.action == "add":
            token = registry.add_person(arguments.name, arguments.role)
            print(f"token of {arguments.name} ({arguments.role}), told this once: {token}")
        elif not registry.revoke_person(arguments.name):
            print(f"no person {arguments.name}")
            return 1
    return 0


@contextmanager
def _first_storage(arguments: argparse.Namespace) -> Iterator[Storage]:
    """The database, made when absent: people are added before the first start."""
    arguments.data.mkdir(parents=True, exist_ok=True)
    storage = open_storage(arguments.data, arguments.database)
    try:
        yield storage
    finally:
        storage.close()
