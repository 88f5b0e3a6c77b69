"""Child of test_recording_torn: records until it is killed, and says the stamp of every event that was taken."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from replays.recording.recorder import McapRecorder
from replays.recording.shelf import Limits, Shelf
from tests.replays.recordings import drive, head

if __name__ == "__main__":
    shelf = Shelf(Path(sys.argv[1]), Limits(part_s=40.0))
    with McapRecorder(shelf, head()) as recorder:
        for event in drive(100_000.0):
            recorder.tap(event)
            os.write(1, event.stamp_ns.to_bytes(8, "little"))
