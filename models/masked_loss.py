"""Detection loss that stays silent where a data set says nothing.

ultralytics' v8DetectionLoss counts every empty place as "none of the classes". Here each picture brings a weight per
class for its empty places (0: this source never labelled the class), and ignore boxes: inside one, an anchor that is
assigned to no object of that class is no negative for it. Boxes that are there always count in full.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.tal import make_anchors


class _WeightedBce(nn.Module):  # type: ignore[misc]
    """Elementwise BCE on logits, scaled by `weight` (B, anchors, classes) where the target is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.weight: torch.Tensor | None = None

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if self.weight is None:
            return loss
        return loss * torch.where(target > 0, torch.ones_like(self.weight), self.weight)


class MaskedDetectionLoss(v8DetectionLoss):  # type: ignore[misc]
    """v8DetectionLoss with known-class masks.

    The batch carries, beside ultralytics' `batch_idx`, `cls` and `bboxes`: `background` float (B, classes) in 0..1 and
    `ignore` float (M, 6): picture, class, x1, y1, x2, y2 in network pixels.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.bce = _WeightedBce()

    def get_assigned_targets_and_loss(self, preds: dict[str, Any], batch: dict[str, Any], **kwargs: Any) -> Any:
        """As in the parent, after the weights of this batch's empty places are set."""
        points, strides = make_anchors(preds["feats"], self.stride, 0.5)
        self.bce.weight = background_weights(batch["background"], batch["ignore"], points * strides, strides)
        return super().get_assigned_targets_and_loss(preds, batch, **kwargs)


def background_weights(
    background: torch.Tensor, ignore: torch.Tensor, centres: torch.Tensor, strides: torch.Tensor
) -> torch.Tensor:
    """Weight of every anchor as a negative example, (B, classes), (M, 6), (A, 2) px, (A, 1) px -> (B, A, classes).

    An ignore box reaches at least half a stride to each side, so that coarse levels, whose anchors may all miss a small
    box, ignore it too.
    """
    weights = background[:, None, :].repeat(1, len(centres), 1)
    for picture, index, x1, y1, x2, y2 in ignore.tolist():
        middle = centres.new_tensor([(x1 + x2) / 2, (y1 + y2) / 2])
        half = torch.maximum(centres.new_tensor([(x2 - x1) / 2, (y2 - y1) / 2]), strides / 2)
        inside = ((centres - middle).abs() <= half).all(dim=1)
        weights[int(picture), inside, int(index)] = 0.0
    return weights
