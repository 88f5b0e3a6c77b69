"""ultralytics keeps its settings in a folder of its own: a scratch one while testing, named before it is imported."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="qiji-ultralytics-"))
