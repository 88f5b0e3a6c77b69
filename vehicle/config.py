"""One TOML per car. Unknown keys are refused; every value has a default beside the code that uses it."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import models
from gnss.errors import ReceiverError
from gnss.ports import parse_address
from perception.camera import CameraModel
from perception.errors import SetupError
from perception.pipeline import PipelineParams
from replays.drive_toml import line_of, read_model, text_of
from vehicle.inference import InferenceParams
from vehicle.params import override

MODELS = Path(models.__file__).parent
SHIPPED_CARD = MODELS / "qiji-street-n" / "model.toml"
_TOP = {
    "version", "vehicle", "model", "city", "data_dir", "threads", "platform", "receiver", "camera", "params",
    "inference",
}  # fmt: skip
_CAMERA = {
    "name", "source", "width", "height", "fx", "fy", "cx", "cy", "dist", "model", "x_m", "y_m", "z_m", "yaw_deg",
    "pitch_deg", "roll_deg", "max_age_s",
}  # fmt: skip
_RECEIVER = {"port", "baud", "x_m", "y_m", "z_m", "latency_s"}
_PLATFORM = {"url", "timeout_s"}


@dataclass(frozen=True, slots=True)
class CameraSource:
    """Where a live camera's frames come from: a V4L2 index, an RTSP address or a video file played in real time."""

    source: str
    camera: CameraModel
    max_age_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where the GNSS receiver is (gnss.ports: device, tcp:// or gpsd://); `x_m`, `y_m`, `z_m` its antenna in the
    vehicle frame.

    `baud` None: found by listening. `latency_s` > 0: a fix is older than the earliest arrival of its first byte.
    """

    port: str
    baud: int | None = None
    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.0
    latency_s: float = 0.0


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
    timeout_s: float = 20.0
    receiver: Receiver | None = None
    cameras: tuple[CameraSource, ...] = ()
    params: PipelineParams = field(default_factory=PipelineParams)
    inference: InferenceParams = field(default_factory=InferenceParams)


def _refuse(table: Mapping[str, Any], allowed: set[str], file: Path, where: str, nth: int = 0) -> None:
    for key in table:
        if key not in allowed:
            line = line_of(file, key, nth) or line_of(file, f"[{key}]")
            remedy = f"use one of {', '.join(sorted(allowed))}"
            raise SetupError(f"unknown key {key!r} in {where}", file=file, line=line, remedy=remedy)


def _camera(row: Mapping[str, Any], file: Path, nth: int) -> CameraSource:
    _refuse(row, _CAMERA, file, "[[camera]]", nth)
    name, source = text_of(file, row, "name"), str(row.get("source", ""))
    if not source:
        line = line_of(file, "name", nth)
        raise SetupError(f"camera {name!r} lacks source", file=file, line=line, remedy='write source = "0" or a file')
    age_s = row.get("max_age_s", 0.5)
    if isinstance(age_s, bool) or not isinstance(age_s, int | float) or age_s <= 0:
        line = line_of(file, "max_age_s", nth)
        raise SetupError(f"max_age_s is {age_s!r}", file=file, line=line, remedy="give seconds above 0")
    played = not (source.isdigit() or "://" in source or source.startswith("/"))
    return CameraSource(str(file.parent / source) if played else source, read_model(file, row, name, nth), float(age_s))


def _receiver(row: Mapping[str, Any], file: Path) -> Receiver:
    _refuse(row, _RECEIVER, file, "[receiver]")
    if "port" not in row:
        line = line_of(file, "[receiver]")
        raise SetupError("[receiver] lacks port", file=file, line=line, remedy='write port = "/dev/ttyUSB0"')
    try:
        parse_address(str(row["port"]))
    except ReceiverError as error:
        raise SetupError(error.problem, file=file, line=line_of(file, "port"), remedy=error.remedy) from error
    baud = row.get("baud", "auto")
    if baud != "auto" and (isinstance(baud, bool) or not isinstance(baud, int) or baud <= 0):
        line = line_of(file, "baud")
        raise SetupError(f"baud is {baud!r}", file=file, line=line, remedy='give bits per second, or "auto"')
    numbers = {key: _number(row, file, key) for key in ("x_m", "y_m", "z_m", "latency_s") if key in row}
    return Receiver(str(row["port"]), None if baud == "auto" else baud, **numbers)


def _number(row: Mapping[str, Any], file: Path, key: str) -> float:
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SetupError(f"{key} is {value!r}", file=file, line=line_of(file, key), remedy="give a finite number")
    return float(value)


def _table(table: Mapping[str, Any], key: str, file: Path) -> Mapping[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, Mapping):
        raise SetupError(f"{key} is {value!r}", file=file, line=line_of(file, key), remedy=f"write a table [{key}]")
    return value


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
    platform = _table(table, "platform", file)
    _refuse(platform, _PLATFORM, file, "[platform]")
    rows = table.get("camera", [])
    if not isinstance(rows, list):
        raise SetupError("camera is no list", file=file, line=line_of(file, "[camera]"), remedy="write [[camera]]")
    return Config(
        file,
        str(table["vehicle"]) if "vehicle" in table else None,
        here / table["model"] if "model" in table else SHIPPED_CARD,
        here / table["city"] if "city" in table else None,
        here / table.get("data_dir", "data"),
        table.get("threads"),
        platform.get("url"),
        _number(platform, file, "timeout_s") if "timeout_s" in platform else 20.0,
        _receiver(_table(table, "receiver", file), file) if "receiver" in table else None,
        tuple(_camera(row, file, nth) for nth, row in enumerate(rows)),
        override(PipelineParams(), _table(table, "params", file), file),
        override(InferenceParams(), _table(table, "inference", file), file, "inference"),
    )
