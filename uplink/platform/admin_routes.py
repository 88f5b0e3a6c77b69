"""Routes for the console's start, logins and administrators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from uplink.platform.device_routes import json_body
from uplink.platform.entrance import COOKIE, Entrance, address_of, refusals, small_body
from uplink.platform.intake import Intake, parsed
from uplink.platform.orders import Login, WebhookOrder, WebhookReply
from uplink.platform.people import Person, Registry
from uplink.platform.problems import Refused
from uplink.platform.settings import Settings
from uplink.platform.webhooks import Webhooks

_WEEK_S = 7 * 86_400


def session_routes(settings: Settings, intake: Intake, entrance: Entrance) -> APIRouter:
    """Who am I, what is shown, and the exchange of a token for a cookie."""
    routes = APIRouter(prefix="/v1")

    def face(person: Person | None) -> dict[str, Any]:
        return {
            "person": None if person is None else {"name": person.name, "role": person.role},
            "login": settings.people == "tokens",
            "tiles": settings.tiles if person is not None else None,
            "tiles_credit": settings.tiles_credit,
            "grids": settings.city is not None,
            "server_time": intake.now(),
        }

    @routes.get("/session", responses=refusals())
    def session(request: Request) -> dict[str, Any]:
        """What the console needs to start; `person` is null when a login is needed."""
        try:
            return face(entrance.person(request))
        except Refused as refused:
            if refused.status != 401:
                raise
            return face(None)

    @routes.post("/session", responses=refusals(401, 413, 415), openapi_extra=json_body(Login))
    async def login(request: Request) -> Response:
        """Exchange a token for a cookie that scripts cannot read."""
        order = parsed(Login, await small_body(request))
        person = await run_in_threadpool(entrance.person_of, order.token, address_of(request))
        if person is None:
            raise Refused(401, "login-needed", "unknown or revoked token")
        reply = JSONResponse(face(person))
        secure = request.url.scheme == "https"
        reply.set_cookie(COOKIE, order.token, max_age=_WEEK_S, httponly=True, samesite="strict", secure=secure)
        return reply

    @routes.delete("/session", status_code=204, response_model=None, responses=refusals())
    def logout() -> Response:
        """Forget the cookie."""
        reply = Response(status_code=204)
        reply.delete_cookie(COOKIE)
        return reply

    return routes


def admin_routes(registry: Registry, webhooks: Webhooks, entrance: Entrance) -> APIRouter:
    """Audit log and webhooks, for administrators."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/audit", responses=refusals(401))
    def audit(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    ) -> dict[str, Any]:
        """The newest entries first."""
        entrance.person(request, "admin")
        return {"entries": registry.log(limit, before)}

    @routes.get("/webhooks", responses=refusals(401))
    def listed(request: Request) -> dict[str, Any]:
        """All addresses with their state."""
        entrance.person(request, "admin")
        return {"webhooks": webhooks.listed()}

    @routes.post(
        "/webhooks", status_code=201, response_model=WebhookReply, responses=refusals(401, 413, 415),
        openapi_extra=json_body(WebhookOrder),
    )  # fmt: skip
    async def add(request: Request) -> WebhookReply:
        """Register an address of the allow-list; the secret is told this once."""
        await run_in_threadpool(entrance.person, request, "admin")
        order = parsed(WebhookOrder, await small_body(request))
        return await run_in_threadpool(webhooks.add, order)

    @routes.delete("/webhooks/{number}", status_code=204, response_model=None, responses=refusals(401, 404))
    def remove(number: Annotated[int, PathParameter(ge=1, le=2**53)], request: Request) -> Response:
        """Forget an address."""
        entrance.person(request, "admin")
        webhooks.remove(number)
        return Response(status_code=204)

    return routes
