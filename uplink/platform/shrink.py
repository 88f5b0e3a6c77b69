"""The process that decodes pictures from outside: `python -m uplink.platform.shrink`, one path a line on its input.

Bounded memory, bounded time, no core file. A decode that breaks out of its limits kills this process, not the platform.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import sys

from PIL import Image

from uplink.platform.jpegs import MAX_PIXELS

THUMBNAIL_PX = 320
_SECONDS = 5.0
_MEMORY = 1 << 30


def shrunk(path: str) -> bytes:
    """The picture re-encoded, at most 320 px wide and high; b"" when it cannot be decoded."""
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                return b""
            image.draft("RGB", (THUMBNAIL_PX * 2, THUMBNAIL_PX * 2))
            small = image.convert("RGB")
            small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            out = io.BytesIO()
            small.save(out, "JPEG", quality=78)
            return out.getvalue()
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError):
        return b""


def main() -> None:
    """Answer until the input ends: 8 bytes of length, then the JPEG (length 0: not decodable)."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        # The default action of SIGALRM ends the process: no code that is being fooled has a say in it.
        signal.setitimer(signal.ITIMER_REAL, _SECONDS)
        content = shrunk(os.fsdecode(line.rstrip(b"\n")))
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        sys.stdout.buffer.write(len(content).to_bytes(8, "big") + content)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
