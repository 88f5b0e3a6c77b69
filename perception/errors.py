"""Setup mistakes: they stop the process at start, and the command line turns them into exit code 2."""

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


class DriveError(SetupError):
    """A drive folder, or a member of it, is missing or broken."""


class ModelError(SetupError):
    """A model card or its ONNX file cannot be used."""


class CityError(SetupError):
    """The atlas, the rules or the catalogue cannot be used."""
