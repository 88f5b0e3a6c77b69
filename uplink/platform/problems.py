"""Refusals as problem documents (RFC 9457): stable `type`, never a stack trace."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

PROBLEM = "urn:qiji:problem:"
MEDIA_TYPE = "application/problem+json"


class Refused(Exception):
    """A request that the contract does not allow; `name` is the stable end of the problem's type."""

    def __init__(self, status: int, name: str, detail: str = "", extra: dict[str, str] | None = None) -> None:
        """`extra` are further members of the document, `retry-after` the seconds of that header."""
        self.status = status
        self.name = name
        self.detail = detail
        self.extra = extra or {}
        super().__init__(f"{status} {name}: {detail}")


def document(status: int, name: str, detail: str = "", extra: dict[str, str] | None = None) -> JSONResponse:
    """A problem document as a reply."""
    more = dict(extra or {})
    wait = more.pop("retry-after", None)
    # What a client sent may come back here: lone surrogates of a decoded address have no UTF-8.
    clean = detail[:500].encode(errors="replace").decode()
    content = {"type": PROBLEM + name, "title": name.replace("-", " "), "status": status, "detail": clean, **more}
    return JSONResponse(content, status, {} if wait is None else {"Retry-After": wait}, MEDIA_TYPE)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, Refused):
        raise TypeError(type(error))
    return document(error.status, error.name, error.detail, error.extra)


async def _http(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise TypeError(type(error))
    response = document(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "-"))
    response.headers.update(error.headers or {})
    return response


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise TypeError(type(error))
    first = error.errors()[0]
    return document(422, "invalid-request", f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")


async def _bug(_: Request, error: Exception) -> JSONResponse:
    return document(500, "internal-error")


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _bug)
