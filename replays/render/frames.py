"""The render loop of a drive: numbered PNG frames, resumable, then one H.264 file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from replays.render.encode import encode_h264
from replays.render.patrol import FRONT, Patrol
from replays.render.truth import Geometry


def render_frames(patrol: Patrol, folder: Path, samples: int, threads: int, say: Callable[[str], None]) -> list[Path]:
    """Render the frames that `folder` does not hold yet; returns all paths in order.

    A frame is written under another name and moved when complete, so an interrupted render resumes at the missing one.
    """
    from replays.render.scene import Scene

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:06d}.png" for i in range(patrol.frames)]
    if all(p.exists() for p in paths):
        return paths
    scene = Scene(patrol.street, FRONT.width, FRONT.height, samples, threads)
    for i, (path, stamp) in enumerate(zip(paths, patrol.stamps_s(), strict=True)):
        if path.exists():
            continue
        part = folder / "part.png"
        scene.render(FRONT, patrol.ride.place(stamp), part)
        part.replace(path)
        say(json.dumps({"frame": i, "of": patrol.frames}))
    return paths


def render_video(
    patrol: Patrol, frames: Path, video: Path, samples: int, threads: int, say: Callable[[str], None], crf: int = 24
) -> int:
    """Render what is missing and encode; returns the size of the video in bytes."""
    return encode_h264(render_frames(patrol, frames, samples, threads, say), video, patrol.rate_hz, crf)


def box_lines(patrol: Patrol) -> str:
    """True boxes of every frame as JSON lines {"index", "boxes": [{"id", "class", "xyxy", "visible", "clear"}]}."""
    geometry, lines = Geometry(patrol.street), []
    for i, stamp in enumerate(patrol.stamps_s()):
        boxes = [
            {
                "id": b.thing,
                "class": b.class_name,
                "xyxy": [round(v, 2) for v in b.xyxy],
                "visible": round(b.visible, 3),
                "clear": round(b.clear, 3),
            }
            for b in geometry.boxes(FRONT, patrol.ride.place(stamp), scale=0.5)
        ]
        lines.append(json.dumps({"index": i, "boxes": boxes}))
    return "\n".join(lines) + "\n"
