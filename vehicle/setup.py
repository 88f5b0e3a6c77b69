"""Building blocks of every run: catalogue, model, redactor, atlas, pipeline. Each mistake is a SetupError here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gnss.atlas import Atlas, load_atlas
from perception.camera import CameraModel
from perception.card import ModelCard, load_card
from perception.catalogue import Catalogue, load_catalogue
from perception.detector import OnnxDetector
from perception.pipeline import Pipeline, PipelineSetup
from perception.redaction import Redactor
from uplink.payload import Origin
from vehicle.config import MODELS, Config


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a run needs beyond its source. `detector` is None for recorded detections."""

    config: Config
    catalogue: Catalogue
    card: ModelCard
    detector: OnnxDetector | None

    def atlas(self, city: Path | None) -> Atlas:
        """The atlas of `city`, else of the configuration, else an empty one."""
        file = city or self.config.city
        return Atlas.empty() if file is None else load_atlas(file)

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
        return Pipeline(PipelineSetup(vehicle, drive, cameras, self.catalogue, atlas, thresholds, params))

    def redactor(self) -> Redactor:
        """A fresh redactor; one that cannot protect anybody lets no picture through."""
        return Redactor(self.card)

    def origin(self, atlas: Atlas) -> Origin:
        """What every case body says of its maker."""
        text = "" if self.config.file is None else self.config.file.read_text(encoding="utf-8")
        return Origin(self.catalogue, atlas.division, self.card.sha256, hashlib.sha256(text.encode()).hexdigest())


def equip(config: Config, *, detect: bool) -> Equipment:
    """Load catalogue and model card, and the detector when frames must be looked at."""
    catalogue = load_catalogue(MODELS)
    card = load_card(config.card, catalogue)
    return Equipment(config, catalogue, card, OnnxDetector(card, config.threads) if detect else None)
