"""Setup mistakes found in this room; the command line turns every `SetupError` into exit code 2."""

from __future__ import annotations

from pathlib import Path


class SetupError(Exception):
    """A mistake that a person must mend; the message names the file, the place in it and the remedy."""

    def __init__(
        self, problem: str, *, file: Path | str | None = None, line: int | None = None, remedy: str = ""
    ) -> None:
        self.problem = problem
        self.file = None if file is None else Path(file)
        self.line = line
        self.remedy = remedy
        place = "" if file is None else f"{file}" + ("" if line is None else f":{line}") + ": "
        super().__init__(place + problem + (f". Remedy: {remedy}" if remedy else ""))


class AtlasError(SetupError):
    """`city.toml`, or a file named in it, cannot be used."""


class ReceiverError(SetupError):
    """The serial port of the receiver cannot be used."""
