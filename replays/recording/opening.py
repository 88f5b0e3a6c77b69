"""Finds what a path means as a drive of MCAP files, and lays it out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

from perception.errors import DriveError
from replays.recording.foreign import ForeignReader
from replays.recording.records import MAGIC, McapFile, Message
from replays.recording.unpack import Layout, OwnHead, OwnReader, Scratch, check_one_recording, own_head


def mcap_files(path: Path) -> list[Path]:
    """The MCAP files that make up the drive `path`; [] when it is something else.

    A file, a folder of parts, or a shelf with one recording in it. Raises DriveError for a shelf with several.
    """
    if path.is_file():
        return [path] if path.suffix.lower() == ".mcap" or _begins_right(path) else []
    if not path.is_dir() or (path / "drive.toml").exists():
        return []
    files = sorted(path.glob("*.mcap"))
    if files:
        return files
    folders = sorted({file.parent for file in path.glob("[0-9]*/*.mcap")})
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise DriveError(f"holds {len(folders)} recordings: {names}", file=path, remedy=f"name one: {folders[-1]}")
    return sorted(folders[0].glob("*.mcap")) if folders else []


def _begins_right(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def lay_out(path: Path, files: list[Path]) -> Layout:
    """The members of the drive `path`; raises DriveError naming file, offset and remedy."""
    scratch = Scratch()
    own, foreign = OwnReader(path, scratch), ForeignReader(path, scratch)
    with closing(own):
        return _lay_out(path, files, own, foreign)


def _lay_out(path: Path, files: list[Path], own: OwnReader, foreign: ForeignReader) -> Layout:
    heads: dict[Path, OwnHead] = {}
    notices: list[str] = []
    for file in files:
        source = McapFile(file)
        try:
            begun, messages = _begin(source)
        except DriveError as error:
            if len(files) == 1:
                raise
            # Power failed as the part began; the parts before it are whole.
            notices.append(str(error))
            continue
        head = own_head(file, source.metadata)
        if head is None:
            if heads:
                raise DriveError("is no part of the recording beside it", file=file, remedy="move it elsewhere")
            foreign.read(file, chain(begun, messages))
        else:
            heads[file] = head
            check_one_recording(heads, path)
            own.read(source, begun, messages, head)
        notices += [f"{file.name}: {what}" for what in source.damage]
    layout = _finish(own, foreign, heads, notices, path)
    layout.notices[:0] = notices
    return layout


def _begin(source: McapFile) -> tuple[list[Message], Iterator[Message]]:
    """Read on to the first message: metadata come before it."""
    messages = source.messages()
    first = next(messages, None)
    return [] if first is None else [first], messages


def _finish(
    own: OwnReader, foreign: ForeignReader, heads: dict[Path, OwnHead], notices: list[str], path: Path
) -> Layout:
    try:
        return own.finish() if heads else foreign.finish()
    except DriveError as error:
        if not notices:
            raise
        raise DriveError(f"{error.problem} ({'; '.join(notices)})", file=path, remedy=error.remedy) from error
