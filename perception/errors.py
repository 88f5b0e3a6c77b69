"""Setup mistakes: they stop the process at start, and the command line turns them into exit code 2."""

from __future__ import annotations

from gnss.errors import SetupError

__all__ = ["CityError", "DriveError", "ModelError", "SetupError"]


class DriveError(SetupError):
    """A drive folder, or a member of it, is missing or broken."""


class ModelError(SetupError):
    """A model card or its ONNX file cannot be used."""


class CityError(SetupError):
    """The rules or the catalogue cannot be used."""
