"""Routes for people: cases, decisions, pictures, map layers, and the stream of changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from perception.serial import utc_ns_of
from perception.types import JsonDict
from uplink.platform.actions import Desk
from uplink.platform.device_routes import cursor_of, json_body
from uplink.platform.entrance import CaseName, Entrance, Sha256, address_of, refusals, small_body
from uplink.platform.feed import as_event, changes_after, newest
from uplink.platform.grids import CityMap
from uplink.platform.intake import Intake, parsed
from uplink.platform.jpegs import Shrinker
from uplink.platform.manifests import evidence_of
from uplink.platform.orders import Action, ActionReply
from uplink.platform.problems import Refused
from uplink.platform.register import LISTED, MAX_PAGE, Wanted, get_case, list_cases, tracks

State = Literal["candidate", "open", "monitoring", "resolved", "reopened", "withdrawn", "rejected", "merged"]
Plain = r"^[^\x00-\x1f\x7f]*$"
_BOX = r"^-?[0-9.]{1,20}(,-?[0-9.]{1,20}){3}$"
_DAY_NS = 86_400_000_000_000
_POLL_S = 1.0
_BEAT_POLLS = 15
_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}


def box_of(text: str | None) -> tuple[float, float, float, float] | None:
    """west,south,east,north in degrees; raises Refused 422."""
    if text is None:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise Refused(422, "invalid-request", "box: west,south,east,north") from error
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise Refused(422, "invalid-request", "box: west <= east, south <= north, in degrees")
    return west, south, east, north


def time_of(text: str | None) -> int | None:
    """ISO 8601 text with a zone as UTC ns; raises Refused 422."""
    if text is None:
        return None
    try:
        stamp = utc_ns_of(text)
    except (ValueError, OverflowError) as error:
        raise Refused(422, "invalid-request", "times are ISO 8601 with a zone, as 2026-11-21T10:00:00Z") from error
    return min(max(stamp, -(2**62)), 2**62)


def case_routes(intake: Intake, desk: Desk, entrance: Entrance) -> APIRouter:
    """Reading cases and deciding on them."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/cases", responses=refusals(401))
    def cases(
        request: Request,
        state: Annotated[list[State] | None, Query()] = None,
        kind: Annotated[str | None, Query(max_length=128, pattern=Plain)] = None,
        grid: Annotated[str | None, Query(max_length=64, pattern=Plain)] = None,
        confidence: Annotated[float, Query(ge=0.0, le=1.0)] = 0.0,
        seen_after: Annotated[str | None, Query(max_length=40)] = None,
        seen_before: Annotated[str | None, Query(max_length=40)] = None,
        box: Annotated[str | None, Query(pattern=_BOX, description="west,south,east,north in degrees")] = None,
        include: Annotated[Literal["candidates"] | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1000,
        after: Annotated[str, Query(max_length=128, pattern=Plain)] = "",
    ) -> dict[str, Any]:
        """Listed cases (open, monitoring, resolved, reopened) by id; `state` chooses, `include` adds candidates."""
        entrance.person(request)
        states = tuple(dict.fromkeys(state)) if state else LISTED
        if include == "candidates":
            states = (*states, "candidate")
        wanted = Wanted(states, kind, grid, confidence, time_of(seen_after), time_of(seen_before), box_of(box))
        found, total = list_cases(intake.database, wanted, limit, after)
        return {"cases": found, "total": total, "server_time": intake.now()}

    @routes.get("/cases/{case_id}", responses=refusals(401, 404))
    def case(case_id: CaseName, request: Request) -> dict[str, Any]:
        """One case with all reports and decisions."""
        entrance.person(request)
        found = get_case(intake.database, case_id)
        if found is None:
            raise Refused(404, "no-such-case")
        return found

    @routes.get("/cases/{case_id}/evidence", responses=refusals(401, 404))
    def evidence(case_id: CaseName, request: Request) -> dict[str, Any]:
        """What devices signed about the case: anybody can check it with nothing but the device's public key."""
        entrance.person(request)
        found = evidence_of(intake.database, case_id)
        if not found:
            raise Refused(404, "no-such-case")
        return {"events": found}

    @routes.post(
        "/cases/{case_id}/actions", response_model=ActionReply, responses=refusals(401, 404, 409, 413, 415),
        openapi_extra=json_body(Action),
    )  # fmt: skip
    async def act(case_id: CaseName, request: Request) -> ActionReply:
        """Accept, reject (with a reason), merge, split, assign, close or reopen."""
        person = await run_in_threadpool(entrance.person, request, "officer")
        action = parsed(Action, await small_body(request))
        return await run_in_threadpool(desk.act, case_id, action, person, address_of(request))

    return routes


def picture_routes(intake: Intake, entrance: Entrance, shrinker: Shrinker) -> APIRouter:
    """Pictures by their hash, whole and small."""
    routes = APIRouter(prefix="/v1/blobs")

    @routes.get("/{sha256}", responses=refusals(401, 404))
    def blob(sha256: Sha256, request: Request) -> FileResponse:
        """The delivered bytes."""
        entrance.person(request)
        path = intake.pictures.path(sha256)
        known = intake.database.value("SELECT 1 FROM blob WHERE sha256 = ? LIMIT 1", (sha256,))
        clip = path.with_suffix(".mp4")
        if known is not None and path.is_file():
            return FileResponse(path, media_type="image/jpeg", headers=_FOREVER)
        if known is not None and clip.is_file():
            return FileResponse(clip, media_type="video/mp4", headers=_FOREVER)
        raise Refused(404, "no-such-picture")

    @routes.get("/{sha256}/thumbnail", responses=refusals(401, 404))
    def thumbnail(sha256: Sha256, request: Request) -> Response:
        """The picture made anew, at most 320 px: decoded in a process of its own with limits."""
        entrance.person(request)
        path = intake.pictures.path(sha256)
        if intake.database.value("SELECT 1 FROM blob WHERE sha256 = ? LIMIT 1", (sha256,)) is None:
            raise Refused(404, "no-such-picture")
        kept = path.with_suffix(".thumb")
        if kept.is_file():
            return Response(kept.read_bytes(), media_type="image/jpeg", headers=_FOREVER)
        made = shrinker.thumbnail(path) if path.is_file() else None
        if made is None:
            raise Refused(404, "not-decodable", "the picture cannot be decoded within the limits")
        intake.pictures.keep_small(sha256, made)
        return Response(made, media_type="image/jpeg", headers=_FOREVER)

    return routes


def map_routes(intake: Intake, entrance: Entrance, city: CityMap) -> APIRouter:
    """What the map draws beside the cases."""
    routes = APIRouter(prefix="/v1/map")

    @routes.get("/{layer}", responses=refusals(401))
    def layer(
        layer: Literal["grids", "zones"], request: Request, box: Annotated[str, Query(pattern=_BOX)]
    ) -> dict[str, Any]:
        """Unit grids or zones that touch a box."""
        entrance.person(request)
        found = city.grids if layer == "grids" else city.zones
        return found.within(box_of(box) or (0.0, 0.0, 0.0, 0.0))

    return routes


def track_routes(intake: Intake, entrance: Entrance) -> APIRouter:
    """Vehicles."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/tracks", responses=refusals(401))
    def vehicle_tracks(request: Request, hours: Annotated[float, Query(ge=0.0, le=168.0)] = 24.0) -> dict[str, Any]:
        """Where vehicles were in these last hours."""
        entrance.person(request)
        since_ns = intake.clock.utc_ns() - round(hours * _DAY_NS / 24)
        return {"tracks": tracks(intake.database, since_ns), "server_time": intake.now()}

    @routes.get("/devices", responses=refusals(401))
    def devices(request: Request) -> dict[str, Any]:
        """All devices with their newest heartbeat."""
        entrance.person(request)
        return {"devices": intake.devices(), "server_time": intake.now()}

    return routes


class Streams:
    """Open streams of changes; they end when the server does, and there are only so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.open = 0
        self.stopping = False

    def enter(self) -> None:
        """Raises Refused 503 when all places are taken."""
        if self.open >= self._most or self.stopping:
            raise Refused(503, "too-many-streams", extra={"retry-after": "30"})
        self.open += 1


def stream_routes(intake: Intake, entrance: Entrance, streams: Streams) -> APIRouter:
    """Live updates as server-sent events."""
    routes = APIRouter(prefix="/v1")

    async def events(request: Request, since: str | None) -> AsyncIterator[str]:
        try:
            cursor = await run_in_threadpool(newest, intake.database) if since is None else cursor_of(since)
            yield f"retry: 3000\nid: {cursor}\nevent: hello\ndata: {{}}\n\n"
            quiet = 0
            while not streams.stopping and not await request.is_disconnected():
                changes: list[JsonDict]
                changes, cursor = await run_in_threadpool(changes_after, intake.database, cursor)
                quiet = 0 if changes else quiet + 1
                if changes:
                    yield "".join(as_event(change) for change in changes)
                elif quiet % _BEAT_POLLS == 0:
                    yield ": still here\n\n"
                await asyncio.sleep(_POLL_S)
        finally:
            streams.open -= 1

    @routes.get(
        "/stream", response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **refusals(401)},
    )  # fmt: skip
    async def stream(
        request: Request, since: Annotated[str | None, Query(pattern=r"^[0-9]{1,19}\.[0-9]{1,19}$")] = None
    ) -> StreamingResponse:
        """Changes from now on, or after a cursor (also by Last-Event-ID, as browsers send when they come back)."""
        await run_in_threadpool(entrance.person, request)
        again = request.headers.get("last-event-id")
        start = again if again is not None else since
        if start is not None:
            cursor_of(start)
        streams.enter()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events(request, start), media_type="text/event-stream", headers=headers)

    return routes
