"""Training: a short, resumable loop around ultralytics' network and the masked loss.

Deterministic in its parameters up to the order of floating-point sums: windows are drawn from (seed, epoch, position).
The last moving average is the result; no epoch is picked by its validation score, so the val numbers stay honest.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.dataset import read_indices
from models.errors import TrainingSetupError
from models.masked_loss import MaskedDetectionLoss
from models.network import build_network, load_matching, read_checkpoint, save_checkpoint
from models.recipe import Recipe
from models.windows import Window, WindowSet

LOG = logging.getLogger(__name__)


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
    """Exponential moving average of a state dict; the decay ramps up as 0.998 (1 - exp(-step / ramp))."""

    def __init__(self, network: Any, ramp: float) -> None:
        self.state: dict[str, torch.Tensor] = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.steps = 0
        self._ramp = ramp

    def update(self, network: Any) -> None:
        """Mix the network's present tensors in; counters are copied."""
        self.steps += 1
        decay = 0.998 * (1 - math.exp(-self.steps / self._ramp))
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
    windows = WindowSet(
        read_indices(params.prepared, "train", recipe.classes), recipe, params.height, params.width, params.seed
    )
    steps = math.ceil(len(windows.order(0)) / params.batch)
    network = build_network(recipe.architecture, len(recipe.classes)).to(memory_format=torch.channels_last)
    if params.weights is not None:
        _start_from(network, params.weights, recipe)
    history = _stages(params.weights)
    for layer in network.model[: params.frozen_layers]:
        layer.requires_grad_(False)
    optimizer = torch.optim.AdamW(_groups(network, params.weight_decay), lr=params.lr, betas=(0.9, 0.999))
    average = MovingAverage(network, params.ema_steps)
    first = 0
    if params.resume and checkpoint.is_file():
        first = _resume(read_checkpoint(checkpoint), recipe, checkpoint, network, optimizer, average)
    criterion = MaskedDetectionLoss(network)
    for epoch in range(first, params.epochs):
        losses = _epoch(network, criterion, optimizer, average, windows, params, epoch, steps)
        LOG.info("epoch %d/%d box %.3f class %.3f dfl %.3f", epoch + 1, params.epochs, *losses)
        stage = describe(params, epoch + 1, windows.counts())
        payload = _payload(recipe, network, optimizer, average, epoch + 1) | {
            "stages": [*history, stage],
            "losses": losses,
        }
        save_checkpoint(checkpoint, payload)
    return checkpoint


def _epoch(
    network: Any,
    criterion: Any,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage,
    windows: WindowSet,
    params: TrainParams,
    epoch: int,
    steps: int,
) -> tuple[float, float, float]:
    network.train()
    network.model[: params.frozen_layers].eval()
    total = np.zeros(3)
    count = 0
    for number, batch in enumerate(_batches(windows, params, epoch)):
        step = epoch * steps + number
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps * params.epochs, params)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=params.bf16):
            output = network(batch["img"])
        parts, items = criterion({k: _float32(v) for k, v in criterion.parse_output(output).items()}, batch)
        optimizer.zero_grad(set_to_none=True)
        (parts.sum() / len(batch["img"])).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        average.update(network)
        total += [float(v) for v in items.values()]
        count += 1
        if number % 25 == 0:
            LOG.info("epoch %d step %d/%d loss %s", epoch + 1, number, steps, np.round(total / count, 3))
    box, cls, dfl = total / max(count, 1)
    return float(box), float(cls), float(dfl)


def learning_rate(step: int, total: int, params: TrainParams) -> float:
    """Linear warm-up, then a half cosine from `lr` to `lr * final_lr_share`."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(step / max(total, 1), 1.0)))
    warm = min(1.0, (step + 1) / max(params.warmup_steps, 1))
    return params.lr * warm * (params.final_lr_share + (1 - params.final_lr_share) * cosine)


def _batches(windows: WindowSet, params: TrainParams, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
    order = list(enumerate(windows.order(epoch)))
    chunks = [order[i : i + params.batch] for i in range(0, len(order), params.batch)]
    with ThreadPoolExecutor(max_workers=1) as pool:

        def make(chunk: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
            return collate([windows.window(epoch, position, index) for position, index in chunk])

        ahead = pool.submit(make, chunks[0])
        for following in [*chunks[1:], None]:
            ready = ahead.result()
            if following is not None:
                ahead = pool.submit(make, following)
            yield ready


def collate(windows: list[Window]) -> dict[str, torch.Tensor]:
    """Stack windows: img float (B, 3, H, W) RGB 0..1, boxes as ultralytics wants them, background, ignore (px)."""
    height, width = windows[0].image.shape[:2]
    pixels = np.stack([w.image for w in windows])[..., ::-1].transpose(0, 3, 1, 2)
    image = torch.from_numpy(np.ascontiguousarray(pixels)).float().div_(255)
    rows = np.concatenate([np.insert(w.boxes, 0, i, axis=1) for i, w in enumerate(windows)])
    ignore = np.concatenate([np.insert(w.ignore, 0, i, axis=1) for i, w in enumerate(windows)])
    corners = rows[:, 2:] / np.array([width, height, width, height], np.float32)
    centre_size = np.concatenate(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), axis=1)
    return {
        "img": image.contiguous(memory_format=torch.channels_last),
        "batch_idx": torch.from_numpy(rows[:, 0].astype(np.float32)),
        "cls": torch.from_numpy(rows[:, 1:2].astype(np.float32)),
        "bboxes": torch.from_numpy(centre_size.astype(np.float32)),
        "background": torch.from_numpy(np.stack([w.background for w in windows])),
        "ignore": torch.from_numpy(ignore.astype(np.float32)),
    }


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value


def _groups(network: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and batch norms do not. Frozen ones are listed too, so that a resume may change them."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _start_from(network: Any, weights: Path, recipe: Recipe) -> None:
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


def _resume(
    saved: dict[str, Any],
    recipe: Recipe,
    path: Path,
    network: Any,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage,
) -> int:
    if tuple(saved["classes"]) != recipe.classes:
        problem = f"trained for classes {saved['classes']}"
        raise TrainingSetupError(problem, file=path, remedy="start anew without --resume, or use its recipe")
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    average.state = saved["ema"]
    average.steps = int(saved["ema_steps"])
    return int(saved["epoch"])


def describe(params: TrainParams, epochs: int, pictures: Mapping[str, int]) -> dict[str, Any]:
    """What a stage did, for the model card: plain values, no paths beyond a file's name."""
    plain = {k: v for k, v in asdict(params).items() if isinstance(v, int | float) and k not in ("resume", "threads")}
    start = params.weights.name if params.weights is not None else "random"
    return {**plain, "start": start, "epochs_done": epochs, "pictures": dict(pictures)}


def _stages(weights: Path | None) -> list[dict[str, Any]]:
    """The stages that led to the weights this one starts from."""
    if weights is None or not weights.is_file():
        return []
    return list(read_checkpoint(weights).get("stages", []))


def _payload(
    recipe: Recipe, network: Any, optimizer: torch.optim.Optimizer, average: MovingAverage, epoch: int
) -> dict[str, Any]:
    return {
        "version": 1,
        "recipe": recipe.name,
        "architecture": recipe.architecture,
        "classes": list(recipe.classes),
        "epoch": epoch,
        "network": network.state_dict(),
        "ema": average.state,
        "ema_steps": average.steps,
        "optimizer": optimizer.state_dict(),
    }
