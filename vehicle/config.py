"""One TOML per car. Unknown keys are refused; every value has a default beside the code that uses it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import models
from perception.camera import CameraModel
from perception.errors import SetupError
from perception.pipeline import PipelineParams
from vehicle.params import override

MODELS = Path(models.__file__).parent
SHIPPED_CARD = MODELS / "qiji-street-n" / "model.toml"
_TOP = {"version", "vehicle", "model", "city", "data_dir", "threads", "platform", "receiver", "camera", "params"}
_CAMERA = {
    "name", "source", "width", "height", "fx", "fy", "cx", "cy", "dist", "model", "x_m", "y_m", "z_m", "yaw_deg",
    "pitch_deg", "roll_deg", "max_age_s",
}  # fmt: skip
_RECEIVER = {"port", "baud"}
_PLATFORM = {"url", "timeout_s"}


@dataclass(frozen=True, slots=True)
class CameraSource:
    """Where a live camera's frames come from: a V4L2 index, an RTSP address or a video file played in real time."""

    source: str
    camera: CameraModel
    max_age_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Receiver:
    """Serial port of the GNSS receiver."""

    port: str
    baud: int = 115_200


@dataclass(frozen=True, slots=True)
class Config:
    """A car's configuration; `file` is where it came from, None for the defaults."""

    file: Path | None = None
    vehicle: str | None = None
    card: Path = SHIPPED_CARD
    city: Path | None = None
    data_dir: Path = Path("data")
    threads: int | None = None
    platform_url: str | None = None
    timeout_s: float = 10.0
    receiver: Receiver | None = None
    cameras: tuple[CameraSource, ...] = ()
    params: PipelineParams = field(default_factory=PipelineParams)


def _refuse(table: Mapping[str, Any], allowed: set[str], file: Path, where: str) -> None:
    for key in table:
        if key not in allowed:
            raise SetupError(f"unknown key {key!r} in {where}", file=file, remedy=f"use one of {sorted(allowed)}")


def _camera(row: Mapping[str, Any], file: Path) -> CameraSource:
    _refuse(row, _CAMERA, file, "[[camera]]")
    try:
        name, source = str(row["name"]), str(row["source"])
        width, height = int(row["width"]), int(row["height"])
    except (KeyError, ValueError) as error:
        raise SetupError(f"[[camera]] lacks {error}", file=file, remedy="give name, source, width, height") from error
    guess = CameraModel.guess(name, width, height, None if "fx" not in row else float(row["fx"]))
    given = {key: float(row[key]) for key in ("fx", "fy", "cx", "cy", "x_m", "y_m", "z_m") if key in row}
    given |= {key: float(row[key]) for key in ("yaw_deg", "pitch_deg", "roll_deg") if key in row}
    base = {
        name: getattr(guess, name)
        for name in ("name", "width", "height", "fx", "fy", "cx", "cy", "x_m", "y_m", "z_m", "yaw_deg", "pitch_deg")
    }
    base |= {"roll_deg": guess.roll_deg, "model": str(row.get("model", "pinhole"))}
    base |= {"dist": tuple(float(v) for v in row.get("dist", ())), "guessed": "fx" not in row}
    if "fx" in given and "fy" not in given:
        given["fy"] = given["fx"]
    return CameraSource(source, CameraModel(**{**base, **given}), float(row.get("max_age_s", 0.5)))


def load_config(file: Path) -> Config:
    """Read CAR.toml; relative paths are relative to it. Raises SetupError naming file, key and remedy."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SetupError("does not exist", file=file, remedy="give the path of a CAR.toml") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SetupError(f"cannot be read: {error}", file=file, remedy="mend the TOML") from error
    _refuse(table, _TOP, file, "the top level")
    if table.get("version") != 1:
        raise SetupError(f"version is {table.get('version')!r}", file=file, remedy="write version = 1")
    here = file.parent
    receiver = table.get("receiver")
    platform = table.get("platform", {})
    _refuse(platform, _PLATFORM, file, "[platform]")
    if receiver is not None:
        _refuse(receiver, _RECEIVER, file, "[receiver]")
        if "port" not in receiver:
            raise SetupError("[receiver] lacks port", file=file, remedy='write port = "/dev/ttyUSB0"')
        receiver = Receiver(str(receiver["port"]), int(receiver.get("baud", 115_200)))
    return Config(
        file,
        str(table["vehicle"]) if "vehicle" in table else None,
        here / table["model"] if "model" in table else SHIPPED_CARD,
        here / table["city"] if "city" in table else None,
        here / table.get("data_dir", "data"),
        table.get("threads"),
        platform.get("url"),
        float(platform.get("timeout_s", 10.0)),
        receiver,
        tuple(_camera(row, file) for row in table.get("camera", ())),
        override(PipelineParams(), table.get("params", {}), file),
    )
