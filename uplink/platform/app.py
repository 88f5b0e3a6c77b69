"""The platform's HTTP face: the `/v1` contract for devices, routes for people, and the console at `/`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic.json_schema import models_json_schema

from gnss.clock import Clock, SystemClock
from perception.catalogue import load_catalogue
from uplink.platform import problems
from uplink.platform.actions import Desk
from uplink.platform.admin_routes import admin_routes, session_routes
from uplink.platform.case_routes import (
    Streams,
    case_routes,
    map_routes,
    picture_routes,
    stream_routes,
    track_routes,
)
from uplink.platform.chores import Chores
from uplink.platform.contract import CaseBody, Heartbeat
from uplink.platform.device_routes import device_routes
from uplink.platform.entrance import Entrance
from uplink.platform.fleet import Merger
from uplink.platform.grids import load_city_map
from uplink.platform.guard import Guard
from uplink.platform.intake import Intake
from uplink.platform.jpegs import Shrinker
from uplink.platform.limits import Buckets
from uplink.platform.orders import Action, Enrolment, Login, UploadOrder, WebhookOrder
from uplink.platform.people import Registry
from uplink.platform.settings import Settings, tile_origin
from uplink.platform.storage import open_storage
from uplink.platform.webhooks import Webhooks

API_VERSION = "1.1.0"
_CONSOLE = Path(__file__).parent / "console"
_BODIES = (CaseBody, Heartbeat, Action, Enrolment, Login, UploadOrder, WebhookOrder)


def create_app(settings: Settings | Path, clock: Clock | None = None, *, sweep: bool = True) -> FastAPI:
    """The platform over `settings.data_dir` (made when absent): `platform.sqlite` and `blobs/`.

    A folder alone means the defaults. `sweep` drops unfinished files of the last run: only while no other process
    serves the folder.
    """
    chosen = Settings(settings) if isinstance(settings, Path) else settings
    time = clock or SystemClock()
    chosen.data_dir.mkdir(parents=True, exist_ok=True)
    storage = open_storage(chosen.data_dir, chosen.database_url)
    intake = Intake(chosen.data_dir, time, storage, sweep=sweep)
    registry = Registry(storage, time)
    buckets = Buckets(SystemClock())
    entrance = Entrance(chosen, registry, buckets)
    # Jitter spreads retries over time; it needs no secret and no repeatability.
    webhooks = Webhooks(intake, chosen.webhook_origins, random.Random())  # noqa: S311
    merger = None if chosen.catalogue is None else Merger(intake, load_catalogue(chosen.catalogue))
    app = FastAPI(
        title="Qiji reference platform", version=API_VERSION, docs_url=None, redoc_url=None,
        openapi_url="/v1/openapi.json",
    )  # fmt: skip
    app.state.intake, app.state.registry, app.state.settings = intake, registry, chosen
    app.state.streams = Streams(chosen.limits.streams)
    app.state.shrinker = Shrinker()
    app.state.webhooks = webhooks
    app.state.merger = merger
    app.state.chores = Chores(merger, webhooks, chosen.merge_every_s)
    app.add_middleware(
        Guard, buckets=buckets, rate=chosen.limits.address, tile_origin=tile_origin(chosen.tiles),
        own_names_only=chosen.people == "open",
    )  # fmt: skip
    problems.install(app)
    app.include_router(device_routes(intake, registry, entrance))
    app.include_router(case_routes(intake, Desk(intake, registry), entrance))
    app.include_router(picture_routes(intake, entrance, app.state.shrinker))
    app.include_router(map_routes(intake, entrance, load_city_map(chosen.city)))
    app.include_router(track_routes(intake, entrance))
    app.include_router(stream_routes(intake, entrance, app.state.streams))
    app.include_router(session_routes(chosen, intake, entrance))
    app.include_router(admin_routes(registry, webhooks, entrance))
    _add_health(app, intake)
    _publish(app)
    return app


def close_app(app: FastAPI) -> None:
    """End background work and close the database; the server must have stopped."""
    app.state.streams.stopping = True
    app.state.chores.stop()
    app.state.shrinker.close()
    app.state.webhooks.close()
    app.state.intake.close()


def _add_health(app: FastAPI, intake: Intake) -> None:
    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        """The database answers too."""
        intake.database.value("SELECT count(*) FROM device")
        return {"status": "ready"}

    @app.get("/", include_in_schema=False)
    def index(_: Request) -> FileResponse:
        return FileResponse(_CONSOLE / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", StaticFiles(directory=_CONSOLE), name="static")


def _publish(app: FastAPI) -> None:
    """The OpenAPI document with the bodies that routes read themselves among its components."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            tree = get_openapi(title=app.title, version=app.version, routes=app.routes)
            pairs = [(model, "validation") for model in _BODIES]
            _, bodies = models_json_schema(pairs, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
            tree.setdefault("components", {}).setdefault("schemas", {}).update(bodies["$defs"])
            app.openapi_schema = tree
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
