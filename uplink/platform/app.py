"""The platform's HTTP face: the `/v1` contract for devices, read routes for people, and the console at `/`."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gnss.clock import Clock, SystemClock
from uplink.envelope import digest_of
from uplink.platform import problems
from uplink.platform.contract import BlobReceipt, CaseBody, Heartbeat, HeartbeatReply, Problem, Receipt
from uplink.platform.intake import Intake
from uplink.platform.problems import Refused
from uplink.platform.register import LISTED, MAX_PAGE, get_case, list_cases
from uplink.platform.uploads import BLOB_CAP
from uplink.transport import content_digest

EVENT_CAP = 64 * 1024
_CONSOLE = Path(__file__).parent / "console"
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)

Device = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Sha256 = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{64}$")]
State = Literal["candidate", "open", "monitoring", "resolved", "reopened", "withdrawn", "rejected", "merged"]
Refusals = dict[int | str, dict[str, Any]]


def _refusals(*statuses: int) -> Refusals:
    content = {problems.MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": "refused", "content": content} for status in statuses}


class _Guard:
    """Adds the security headers to every reply."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self._app(scope, receive, guarded if scope["type"] == "http" else send)


def _announced_digest(request: Request) -> str:
    match = _DIGEST.fullmatch(request.headers.get("content-digest", ""))
    if match is None:
        raise Refused(400, "digest-missing", "send Content-Digest: sha-256=:base64:")
    return base64.b64decode(match.group(1)).hex()


def _require_type(request: Request, media_type: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type or request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "unsupported-media-type", f"send {media_type} without content coding")


def _refuse_long(request: Request, cap: int) -> None:
    text = request.headers.get("content-length", "0")
    if text.isdecimal() and int(text[:12]) > cap:
        raise Refused(413, "too-large", f"at most {cap} bytes")


async def _small_body(request: Request) -> bytes:
    _require_type(request, "application/json")
    _refuse_long(request, EVENT_CAP)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > EVENT_CAP:
            raise Refused(413, "too-large", f"at most {EVENT_CAP} bytes")
    return bytes(body)


def create_app(data_dir: Path, clock: Clock | None = None) -> FastAPI:
    """The platform over `data_dir` (made when absent): `platform.sqlite` and `blobs/`."""
    intake = Intake(data_dir, clock or SystemClock())
    app = FastAPI(
        title="Qiji reference platform", version="1", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json"
    )
    app.state.intake = intake
    app.add_middleware(_Guard)
    problems.install(app)
    _add_device_routes(app, intake)
    _add_read_routes(app, intake)
    _add_console(app)
    return app


def _json_body(model: type[CaseBody] | type[Heartbeat]) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": model.model_json_schema(by_alias=True)}},
        }
    }


def _add_device_routes(app: FastAPI, intake: Intake) -> None:
    @app.put(
        "/v1/devices/{device}/events/{uid}",
        status_code=201,
        response_model=Receipt,
        responses={200: {"model": Receipt, "description": "the same body again"}, **_refusals(400, 409, 413, 415, 422)},
        openapi_extra=_json_body(CaseBody),
    )
    async def put_event(device: Device, uid: str, request: Request) -> Response:
        digest = _announced_digest(request)
        body = await _small_body(request)
        if digest_of(body) != digest:
            raise Refused(422, "digest-mismatch", "the body does not have the announced digest")
        receipt, fresh = await run_in_threadpool(intake.take_event, device, uid, body)
        return JSONResponse(receipt.model_dump(), 201 if fresh else 200)

    @app.head("/v1/devices/{device}/blobs/{sha256}", responses=_refusals(404, 422))
    def head_blob(device: Device, sha256: Sha256) -> Response:
        size = intake.blob_size(device, sha256)
        if size is None:
            return Response(status_code=404)
        return Response(headers={"Content-Digest": content_digest(sha256)})

    @app.put(
        "/v1/devices/{device}/blobs/{sha256}",
        status_code=201,
        response_model=BlobReceipt,
        responses={200: {"model": BlobReceipt, "description": "already there"}, **_refusals(413, 415, 422)},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def put_blob(device: Device, sha256: Sha256, request: Request) -> Response:
        _require_type(request, "image/jpeg")
        _refuse_long(request, BLOB_CAP)
        upload = await run_in_threadpool(intake.pictures.begin, sha256)
        try:
            async for chunk in request.stream():
                await run_in_threadpool(upload.add, chunk)
            receipt, fresh = await run_in_threadpool(intake.take_blob, device, upload)
        finally:
            upload.drop()
        return JSONResponse(receipt.model_dump(), 201 if fresh else 200)

    @app.post(
        "/v1/devices/{device}/heartbeat",
        response_model=HeartbeatReply,
        responses=_refusals(400, 413, 415, 422),
        openapi_extra=_json_body(Heartbeat),
    )
    async def heartbeat(device: Device, request: Request) -> HeartbeatReply:
        return await run_in_threadpool(intake.take_heartbeat, device, await _small_body(request))


def _add_read_routes(app: FastAPI, intake: Intake) -> None:
    @app.get("/v1/cases", responses=_refusals(422))
    def cases(
        state: Annotated[list[State] | None, Query()] = None,
        kind: Annotated[str | None, Query(max_length=128)] = None,
        include: Annotated[Literal["candidates"] | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1000,
        after: Annotated[str, Query(max_length=128)] = "",
    ) -> dict[str, Any]:
        """Listed cases (open, monitoring, resolved, reopened) by id; `state` chooses, `include` adds candidates."""
        states = tuple(state) if state else LISTED
        if include == "candidates":
            states = (*states, "candidate")
        found, total = list_cases(intake.database, states, kind, limit, after)
        return {"cases": found, "total": total, "server_time": intake.now()}

    @app.get("/v1/cases/{case_id}", responses=_refusals(404))
    def case(case_id: str) -> dict[str, Any]:
        found = get_case(intake.database, case_id)
        if found is None:
            raise Refused(404, "no-such-case")
        return found

    @app.get("/v1/blobs/{sha256}", responses=_refusals(404, 422))
    def blob(sha256: Sha256) -> FileResponse:
        path = intake.pictures.path(sha256)
        if intake.database.value("SELECT 1 FROM blob WHERE sha256 = ?", (sha256,)) is None or not path.is_file():
            raise Refused(404, "no-such-picture")
        return FileResponse(
            path, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=31536000, immutable"}
        )

    @app.get("/v1/devices")
    def devices() -> dict[str, Any]:
        return {"devices": intake.devices(), "server_time": intake.now()}

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        """The database answers too."""
        intake.database.value("SELECT count(*) FROM device")
        return {"status": "ready"}


def _add_console(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        return FileResponse(_CONSOLE / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", StaticFiles(directory=_CONSOLE), name="static")
