"""Routes for devices: events, pictures, uploads in parts, heartbeat, enrolment and the fleet's case memory."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from perception.types import Tile
from uplink.evidence import HEADER
from uplink.platform.contract import BlobReceipt, CaseBody, Heartbeat, HeartbeatReply, Receipt
from uplink.platform.entrance import (
    Device,
    Entrance,
    Sha256,
    address_of,
    announced_digest,
    refusals,
    refuse_long,
    require_type,
    small_body,
)
from uplink.platform.fleet import MAX_TILES, Cursor, changed_cases
from uplink.platform.intake import Intake, parsed
from uplink.platform.orders import Enrolment, EnrolmentReply, UploadOrder, UploadReply
from uplink.platform.people import Registry
from uplink.platform.problems import Refused
from uplink.platform.resumable import Resumable
from uplink.platform.uploads import BLOB_CAP
from uplink.transport import content_digest

MAX_DELTA = 1000
_TILE = re.compile(r"(-?[0-9]{1,6}),(-?[0-9]{1,6})")
_DIGEST_HEADER = {
    "name": "Content-Digest", "in": "header", "required": True, "description": "RFC 9530, of the body",
    "schema": {"type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/]{43}=:$"},
}  # fmt: skip
UploadName = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{32}$")]


def json_body(model: type[Any], *parameters: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI of a body that a route reads itself."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    more = {"parameters": list(parameters)} if parameters else {}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}, **more}


def _binary(*media_types: str) -> dict[str, Any]:
    content = {name: {"schema": {"type": "string", "format": "binary"}} for name in media_types}
    return {"requestBody": {"required": True, "content": content}}


def tiles_of(texts: list[str]) -> list[Tile]:
    """ "row,column" texts as tiles; raises Refused 422."""
    if len(texts) > MAX_TILES:
        raise Refused(422, "invalid-request", f"at most {MAX_TILES} tiles")
    found = []
    for text in texts:
        match = _TILE.fullmatch(text)
        if match is None:
            raise Refused(422, "invalid-request", "tile: row,column")
        found.append((int(match[1]), int(match[2])))
    return found


def cursor_of(text: str) -> Cursor:
    """A cursor that came by query; raises Refused 422."""
    try:
        return Cursor.of(text)
    except ValueError as error:
        raise Refused(422, "invalid-request", "since: a cursor of this platform") from error


def device_routes(intake: Intake, registry: Registry, entrance: Entrance) -> APIRouter:
    """All routes below /v1/devices/{device} that the device itself asks."""
    routes = APIRouter(prefix="/v1/devices/{device}")
    _add_events(routes, intake, entrance)
    _add_blobs(routes, intake, entrance)
    _add_uploads(routes, intake, entrance)
    _add_enrolment(routes, intake, registry, entrance)
    return routes


def _add_events(routes: APIRouter, intake: Intake, entrance: Entrance) -> None:
    @routes.put(
        "/events/{uid}",
        status_code=201,
        response_model=Receipt,
        responses={
            200: {"model": Receipt, "description": "the same body again"},
            **refusals(401, 409, 413, 415),
        },
        openapi_extra=json_body(CaseBody, _DIGEST_HEADER),
    )
    async def put_event(device: Device, uid: str, request: Request) -> Response:
        """Deliver one change of one case. 200 and 201 carry the receipt; anything else is none."""
        await run_in_threadpool(entrance.device, request, device, body=True)
        if announced_digest(request) is None:
            raise Refused(400, "digest-missing", "send Content-Digest: sha-256=:base64:")
        body = await small_body(request)
        receipt, fresh = await run_in_threadpool(intake.take_event, device, uid, body, request.headers.get(HEADER))
        return JSONResponse(receipt.model_dump(), 201 if fresh else 200)

    @routes.post(
        "/heartbeat", response_model=HeartbeatReply, responses=refusals(401, 413, 415),
        openapi_extra=json_body(Heartbeat),
    )  # fmt: skip
    async def heartbeat(device: Device, request: Request) -> HeartbeatReply:
        """What the device believes to have sent; the reply names the gaps."""
        await run_in_threadpool(entrance.device, request, device, body=True)
        return await run_in_threadpool(intake.take_heartbeat, device, await small_body(request))

    @routes.get("/cases", responses=refusals(401))
    def cases(
        device: Device,
        request: Request,
        tile: Annotated[list[str] | None, Query(description="row,column, at most 64")] = None,
        since: Annotated[str, Query(max_length=40)] = "0.0",
        limit: Annotated[int, Query(ge=1, le=MAX_DELTA)] = 500,
    ) -> dict[str, Any]:
        """Fleet memory: cases of these tiles that changed after the cursor `since`, and the next cursor."""
        entrance.device(request, device, body=False)
        found, cursor = changed_cases(intake, tiles_of(tile or []), cursor_of(since), limit)
        return {"cases": found, "cursor": str(cursor), "more": len(found) == limit, "server_time": intake.now()}


def _add_blobs(routes: APIRouter, intake: Intake, entrance: Entrance) -> None:
    @routes.head("/blobs/{sha256}", responses=refusals(401, 404))
    def head_blob(device: Device, sha256: Sha256, request: Request) -> Response:
        """200 with the digest when this device has delivered the picture."""
        entrance.device(request, device, body=False)
        if intake.blob_size(device, sha256) is None:
            return Response(status_code=404)
        return Response(headers={"Content-Digest": content_digest(sha256)})

    @routes.put(
        "/blobs/{sha256}",
        status_code=201,
        response_model=BlobReceipt,
        responses={200: {"model": BlobReceipt, "description": "already there"}, **refusals(401, 413, 415)},
        openapi_extra=_binary("image/jpeg"),
    )
    async def put_blob(device: Device, sha256: Sha256, request: Request) -> Response:
        """Deliver one redacted picture, whole."""
        await run_in_threadpool(entrance.device, request, device, body=True)
        require_type(request, "image/jpeg")
        refuse_long(request, BLOB_CAP)
        if announced_digest(request) not in (None, sha256):
            raise Refused(422, "digest-mismatch", "the announced digest is not that of the address")
        upload = await run_in_threadpool(intake.pictures.begin, sha256)
        try:
            async for chunk in request.stream():
                await run_in_threadpool(upload.add, chunk)
            receipt, fresh = await run_in_threadpool(intake.take_blob, device, upload)
        finally:
            upload.drop()
        return JSONResponse(receipt.model_dump(), 201 if fresh else 200)


def _add_uploads(routes: APIRouter, intake: Intake, entrance: Entrance) -> None:
    uploads = Resumable(intake)

    @routes.post(
        "/uploads", status_code=201, response_model=UploadReply,
        responses={200: {"model": UploadReply, "description": "goes on"}, **refusals(401, 413, 415)},
        openapi_extra=json_body(UploadOrder),
    )  # fmt: skip
    async def begin(device: Device, request: Request) -> Response:
        """Announce a file that comes in parts; Location names the upload."""
        await run_in_threadpool(entrance.device, request, device, body=True)
        order = parsed(UploadOrder, await small_body(request))
        reply, fresh = await run_in_threadpool(uploads.begin, device, order)
        place = f"/v1/devices/{device}/uploads/{reply.upload}"
        headers = {"Location": place, "Upload-Offset": str(reply.offset), "Upload-Length": str(reply.size)}
        return JSONResponse(reply.model_dump(), 201 if fresh else 200, headers)

    @routes.head("/uploads/{upload}", responses=refusals(401, 404))
    def offset(device: Device, upload: UploadName, request: Request) -> Response:
        """Upload-Offset: how much is durably here."""
        entrance.device(request, device, body=False)
        reply = uploads.offset(device, upload)
        return Response(headers={"Upload-Offset": str(reply.offset), "Upload-Length": str(reply.size)})

    @routes.patch(
        "/uploads/{upload}", status_code=204, response_model=None,
        responses={200: {"model": BlobReceipt, "description": "that was the last part"},
                   **refusals(401, 404, 409, 413, 415)},
        openapi_extra={**_binary("application/offset+octet-stream"), "parameters": [
            {"name": "Upload-Offset", "in": "header", "required": True, "schema": {"type": "integer", "minimum": 0}}]},
    )  # fmt: skip
    async def append(device: Device, upload: UploadName, request: Request) -> Response:
        """Append from Upload-Offset: 204, or 200 with the receipt when the file is whole."""
        await run_in_threadpool(entrance.device, request, device, body=False)
        require_type(request, "application/offset+octet-stream")
        text = request.headers.get("upload-offset", "")
        if not text.isdecimal() or len(text) > 15 or not text.isascii():
            raise Refused(400, "offset-missing", "send Upload-Offset")
        part = await run_in_threadpool(uploads.take_over, device, upload, int(text))
        try:
            async for chunk in request.stream():
                await run_in_threadpool(part.add, chunk)
            await run_in_threadpool(part.flush)
        finally:
            part.close()
        receipt = await run_in_threadpool(uploads.finish, device, upload)
        headers = {"Upload-Offset": str(part.offset)}
        if receipt is None:
            return Response(status_code=204, headers=headers)
        return JSONResponse(receipt.model_dump(), 200, headers)


def _add_enrolment(routes: APIRouter, intake: Intake, registry: Registry, entrance: Entrance) -> None:
    @routes.post(
        "/enrolment", status_code=201, response_model=EnrolmentReply, responses=refusals(413, 415),
        openapi_extra=json_body(Enrolment),
    )  # fmt: skip
    async def enrol(device: Device, request: Request) -> EnrolmentReply:
        """Bring the public key of a key that was made on the device, with the code of an invitation."""
        order = parsed(Enrolment, await small_body(request))
        entrance.guess(address_of(request))
        keyid = await run_in_threadpool(registry.accept_key, device, order.code, order.public_key, address_of(request))
        return EnrolmentReply(device=device, keyid=keyid, server_time=intake.now())
