"""Training: a short, resumable loop around ultralytics' network and the masked loss.

Deterministic in its parameters up to the order of floating-point sums: windows are drawn from (seed, epoch, position).
The last moving average is the result; no epoch is picked by its validation score, so the val numbers stay honest.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.batches import batches
from models.dataset import held_out_digest, read_indices
from models.errors import TrainingSetupError
from models.masked_loss import MaskedDetectionLoss
from models.network import build_network, load_matching, read_checkpoint, save_checkpoint
from models.prepare import CALIBRATION
from models.recipe import Recipe
from models.windows import WindowSet

LOG = logging.getLogger(__name__)
GRADIENT_LIMIT = 10.0
AVERAGE_DECAY = 0.998


@dataclass(frozen=True, slots=True)
class TrainParams:
    """How to train.

    weights: a state dict to start from (COCO, or an own checkpoint); None starts from noise. lr: AdamW's peak rate.
    frozen_layers: so many first layers keep their weights and batch-norm statistics, which saves a fifth of the time.
    height, width: of the training windows, px. bf16: mixed precision, twice as fast where the processor has it.
    """

    prepared: tuple[Path, ...]
    out: Path
    weights: Path | None = None
    epochs: int = 30
    batch: int = 16
    height: int = 352
    width: int = 416
    lr: float = 1e-3
    final_lr_share: float = 0.02
    warmup_steps: int = 100
    weight_decay: float = 5e-4
    ema_steps: float = 300.0
    frozen_layers: int = 0
    seed: int = 1
    bf16: bool = True
    threads: int = 2
    resume: bool = False


class MovingAverage:
    """Exponential moving average of a state dict; the decay ramps up as AVERAGE_DECAY (1 - exp(-step / ramp))."""

    def __init__(self, network: Any, ramp: float) -> None:
        self.state: dict[str, torch.Tensor] = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.steps = 0
        self._ramp = ramp

    def update(self, network: Any) -> None:
        """Mix the network's present tensors in; counters are copied."""
        self.steps += 1
        decay = AVERAGE_DECAY * (1 - math.exp(-self.steps / self._ramp))
        for key, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[key].lerp_(value.detach(), 1 - decay)
            else:
                self.state[key].copy_(value)


def train(recipe: Recipe, params: TrainParams) -> Path:
    """Train and return the checkpoint's path (`out`/last.pt, rewritten after every epoch).

    With `resume` an existing last.pt is continued. Raises TrainingSetupError when the data or the weights do not fit.
    """
    torch.set_num_threads(params.threads)
    torch.manual_seed(params.seed)
    params.out.mkdir(parents=True, exist_ok=True)
    checkpoint = params.out / "last.pt"
    run = _Run(recipe, params)
    if params.resume and checkpoint.is_file():
        run.resume(checkpoint)
    while run.epochs_done < params.epochs:
        losses = run.epoch()
        LOG.info("epoch %d/%d box %.3f class %.3f dfl %.3f", run.epochs_done, params.epochs, *losses)
        save_checkpoint(checkpoint, {**run.state(), "losses": losses})
    return checkpoint


class _Run:
    """The network, its optimiser, its moving average and the data, from one epoch to the next."""

    def __init__(self, recipe: Recipe, params: TrainParams) -> None:
        self._recipe, self._params = recipe, params
        trained = {source.name for source in recipe.trained}
        pictures = [p for p in read_indices(params.prepared, "train", recipe.classes) if p.source in trained]
        self._held_out = held_out_digest(read_indices(params.prepared, CALIBRATION, recipe.classes))
        self._windows = WindowSet(pictures, recipe, params.height, params.width, params.seed)
        self._steps = math.ceil(len(self._windows.order(0)) / params.batch)
        network = build_network(recipe.architecture, len(recipe.classes))
        self._network: Any = network.to(memory_format=torch.channels_last)
        self._history: list[dict[str, Any]] = []
        if params.weights is not None:
            self._history = _start_from(self._network, params.weights, recipe)
        for layer in self._network.model[: params.frozen_layers]:
            layer.requires_grad_(False)
        groups = _groups(self._network, params.weight_decay)
        self._optimizer = torch.optim.AdamW(groups, lr=params.lr, betas=(0.9, 0.999))
        self._average = MovingAverage(self._network, params.ema_steps)
        self._criterion: Any = MaskedDetectionLoss(self._network)
        self.epochs_done = 0

    def resume(self, path: Path) -> None:
        """Continue as the checkpoint left off."""
        saved = read_checkpoint(path)
        if tuple(saved["classes"]) != self._recipe.classes:
            problem = f"trained for classes {saved['classes']}"
            raise TrainingSetupError(problem, file=path, remedy="start anew without --resume, or use its recipe")
        self._network.load_state_dict(saved["network"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._average.state = saved["ema"]
        self._average.steps = int(saved["ema_steps"])
        self.epochs_done = int(saved["epoch"])

    def epoch(self) -> tuple[float, float, float]:
        """One pass over the windows; mean box, class and dfl loss."""
        self._network.train()
        self._network.model[: self._params.frozen_layers].eval()
        total = np.zeros(3)
        for number, batch in enumerate(batches(self._windows, self._params.batch, self.epochs_done)):
            self._set_rate(self.epochs_done * self._steps + number)
            total += self._step(batch)
            if number % 25 == 0:
                mean = np.round(total / (number + 1), 3)
                LOG.info("epoch %d step %d/%d loss %s", self.epochs_done + 1, number, self._steps, mean)
        self.epochs_done += 1
        box, cls, dfl = total / self._steps
        return float(box), float(cls), float(dfl)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds, beside the losses."""
        stage = describe(self._params, self.epochs_done, self._windows.counts())
        stage["held_out"] = self._held_out
        return {
            "version": 1,
            "recipe": self._recipe.name,
            "architecture": self._recipe.architecture,
            "classes": list(self._recipe.classes),
            "epoch": self.epochs_done,
            "network": self._network.state_dict(),
            "ema": self._average.state,
            "ema_steps": self._average.steps,
            "optimizer": self._optimizer.state_dict(),
            "stages": [*self._history, stage],
        }

    def _set_rate(self, step: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(step, self._steps * self._params.epochs, self._params)

    def _step(self, batch: dict[str, torch.Tensor]) -> npt.NDArray[np.float64]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._params.bf16):
            output = self._network(batch["img"])
        raw = {key: _float32(value) for key, value in self._criterion.parse_output(output).items()}
        parts, items = self._criterion(raw, batch)
        self._optimizer.zero_grad(set_to_none=True)
        (parts.sum() / len(batch["img"])).backward()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), GRADIENT_LIMIT)
        self._optimizer.step()
        self._average.update(self._network)
        return np.array([float(value) for value in items.values()])


def learning_rate(step: int, total: int, params: TrainParams) -> float:
    """Linear warm-up, then a half cosine from `lr` to `lr * final_lr_share`."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(step / max(total, 1), 1.0)))
    warm = min(1.0, (step + 1) / max(params.warmup_steps, 1))
    return params.lr * warm * (params.final_lr_share + (1 - params.final_lr_share) * cosine)


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value


def _groups(network: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and batch norms do not. Frozen ones are listed too, so that a resume may change them."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _start_from(network: Any, weights: Path, recipe: Recipe) -> list[dict[str, Any]]:
    """Load what fits of `weights`; returns the stages that led to them."""
    if not weights.is_file():
        raise TrainingSetupError("no such weights", file=weights, remedy="give a state dict or an own checkpoint")
    loaded = read_checkpoint(weights)
    state = loaded.get("ema") or loaded.get("state_dict")
    if state is None:
        problem = "neither 'ema' nor 'state_dict' inside"
        raise TrainingSetupError(problem, file=weights, remedy="give a state dict or an own checkpoint")
    matched = load_matching(network, state)
    LOG.info("%d of %d tensors taken from %s", matched, len(network.state_dict()), weights.name)
    if matched == 0:
        problem = f"no tensor fits {recipe.architecture}, training would start from nothing"
        raise TrainingSetupError(problem, file=weights, remedy="give weights of that architecture")
    return list(loaded.get("stages", []))


def describe(params: TrainParams, epochs: int, pictures: Mapping[str, int]) -> dict[str, Any]:
    """What a stage did, for the model card: plain values, no paths beyond a file's name."""
    plain = {k: v for k, v in asdict(params).items() if isinstance(v, int | float) and k not in ("resume", "threads")}
    start = params.weights.name if params.weights is not None else "random"
    return {**plain, "start": start, "epochs_done": epochs, "pictures": dict(pictures)}
