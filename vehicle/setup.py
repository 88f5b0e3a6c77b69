"""Building blocks of every run: catalogue, model, redactor, atlas, pipeline. Each mistake is a SetupError here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gnss.atlas import Atlas, load_atlas
from perception.backends import Wish
from perception.camera import CameraModel
from perception.card import ModelCard, load_card
from perception.catalogue import Catalogue, load_catalogue
from perception.detector import Detector, OnnxDetector
from perception.pipeline import Pipeline, PipelineSetup
from perception.redaction import Redactor
from perception.rulebook import checked_rules
from uplink.payload import Origin
from vehicle.config import MODELS, Config
from vehicle.inference import eyes, fitted, opened

MOST_AT_ONCE = 8
"""Frames side by side at most: each holds the network's intermediate results, some ten MB."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a run needs beyond its source. `detector` is None for recorded detections, and looks at `at_once` frames."""

    config: Config
    catalogue: Catalogue
    card: ModelCard
    detector: OnnxDetector | None
    at_once: int = 1

    def atlas(self, city: Path | None) -> Atlas:
        """The atlas of `city`, else of the configuration, else an empty one."""
        file = city or self.config.city
        return Atlas.empty() if file is None else usable_atlas(file, self.catalogue)

    def eyes(self, cameras: Mapping[str, CameraModel], *, live: bool = False) -> Detector | None:
        """The detector for a drive with these cameras, with a second look where the configuration wants one."""
        return eyes(self.detector, cameras, self.catalogue, self.config.inference, live=live)

    def pipeline(
        self,
        vehicle: str,
        drive: str,
        cameras: Mapping[str, CameraModel],
        atlas: Atlas,
        antenna_m: tuple[float, float, float] | None = None,
    ) -> Pipeline:
        """A fresh pipeline for one drive; `antenna_m` (forward, left, up): its own lever arm, if it has one."""
        thresholds = {n: t for n, t in self.card.thresholds().items() if n in self.catalogue.classes}
        params = self.config.params
        if antenna_m is not None:
            ego = replace(params.ego, antenna_x_m=antenna_m[0], antenna_y_m=antenna_m[1])
            params = replace(params, ego=ego)
        odds = self.card.prior_odds()
        return Pipeline(PipelineSetup(vehicle, drive, cameras, self.catalogue, atlas, thresholds, params, odds))

    def redactor(self) -> Redactor:
        """A fresh redactor; one that cannot protect anybody lets no picture through."""
        return Redactor(self.card)

    def origin(self, atlas: Atlas) -> Origin:
        """What every case body says of its maker."""
        text = "" if self.config.file is None else self.config.file.read_text(encoding="utf-8")
        return Origin(self.catalogue, atlas.division, self.card.sha256, hashlib.sha256(text.encode()).hexdigest())


def usable_atlas(file: Path, catalogue: Catalogue) -> Atlas:
    """The atlas, with rules that this catalogue can follow; raises SetupError."""
    atlas = load_atlas(file)
    checked_rules(atlas.texts, catalogue, file)
    return atlas


def equip(config: Config, *, detect: bool, throughput: bool = False) -> Equipment:
    """Load catalogue and model card, and the detector when frames must be looked at.

    A car wants each frame soon: all threads work on one. A recording wants all frames soon (`throughput`): every thread
    has a frame of its own and none waits for another, with the same boxes to the last bit (see `backends`).
    """
    catalogue, how = load_catalogue(MODELS), config.inference
    card = fitted(load_card(config.card, catalogue), how, config.file)
    if not detect:
        return Equipment(config, catalogue, card, None)
    threads = config.threads or len(os.sched_getaffinity(0))
    at_once = min(threads, MOST_AT_ONCE) if throughput else 1
    wish = Wish(threads // at_once, at_once, how.exact, config.data_dir / "engines")
    network = opened(card, how, config.file, wish)
    return Equipment(config, catalogue, card, OnnxDetector(card, network=network), at_once)
