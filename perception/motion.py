"""Standing, moving or unknown: two hypotheses of every vehicle compared, and cars of which one side is hidden."""

from __future__ import annotations

import numpy as np

from gnss.types import Array, Rows
from perception import solid
from perception.hypotheses import FIRST_ROUND, LATER_ROUND, LEFT_OUT, Model, left_out
from perception.sights import Batch, LocateParams
from perception.solver import Fit, either, fit, mixed, replaced
from perception.types import Verdict


def judged(static: Fit, moving: Fit, batch: Batch, params: LocateParams) -> tuple[list[Verdict], list[float], Fit]:
    """Compare the two motion hypotheses of every vehicle: verdicts, speeds (m/s) of the likelier ones, and the fits."""
    verdicts, speeds = [Verdict.STATIC] * len(batch.sights), [0.0] * len(batch.sights)
    if not len(batch.vehicle):
        return verdicts, speeds, static
    cars = batch.vehicle
    still = static.of(cars)
    poor = left_out(static.residuals, batch, params)[cars] > params.most_doubt
    ratio = still.log_evidence - moving.log_evidence
    unsure = np.flatnonzero(poor | (ratio < params.static_log_ratio))
    if len(unsure):
        hidden, strange = _half_hidden(batch, cars[unsure], params)
        better = poor[unsure] | (hidden.log_evidence > still.log_evidence[unsure])
        still = replaced(still, unsure, either(better, hidden, still.of(unsure)))
        poor[unsure] = np.where(better, strange > params.most_doubt, poor[unsure])
        ratio = still.log_evidence - moving.log_evidence
    spread = moving.covariance[:, solid.ALONG : solid.ACROSS + 1, solid.ALONG : solid.ACROSS + 1]
    sigma = np.sqrt(np.maximum(np.linalg.eigvalsh(spread)[:, 1], 0.0))
    velocity = moving.parameters[:, [solid.ALONG, solid.ACROSS]]
    speed = np.hypot(velocity[:, 0], velocity[:, 1])
    # Over a long time the drift of the poses looks like a crawl: nothing drives so slowly for so long.
    crawls = (speed + 2.0 * sigma < params.crawl_mps) & (ratio > -params.moving_log_ratio)
    stands = ~poor & (crawls | (ratio > params.static_log_ratio) & (sigma < params.static_speed_sigma_mps))
    # A half hidden bus that nothing explains is no crawling one: what moves slower than a walk stays undecided.
    moves = ~stands & (ratio < -params.moving_log_ratio) & (speed > params.walk_mps)
    # Undecided: where it stands, if it stands, is what matters to a case; a later look tells whether it did.
    rather_stands = stands | (~moves & ~poor & (ratio > 0.0))
    weight = np.where(rather_stands, 1.0, np.where(moves, 0.0, 1.0 / (1.0 + np.exp(-np.clip(ratio, -50.0, 50.0)))))
    final = replaced(static, cars, mixed(weight, still, moving))
    for k, row in enumerate(cars.tolist()):
        if not stands[k]:
            verdicts[row] = Verdict.MOVING if moves[k] else Verdict.UNKNOWN
            speeds[row] = float(speed[k]) if ratio[k] < 0 else 0.0
    return verdicts, speeds, final


def _half_hidden(batch: Batch, rows: Rows, params: LocateParams) -> tuple[Fit, Array]:
    """The tracks `rows` as standing things of which one side is hidden by something that was never detected.

    The far side of a car in a row of parked ones ends where the next begins, whether that one is found or not; taken
    for its own end, it seems to move with us. The evidence has the prior of such a thing in it. Also the share (R,) of
    edges that even then are of something else. Either side may be hidden: the ellipse holds both places.
    """
    both = np.concatenate([rows, rows])
    mean, information, model = batch.mean[both], batch.information[both], Model(batch.view.of(both))
    noise = batch.noise.of(rows).slack(params.hidden_shift, params.hidden_grain)
    first = fit(model, noise.weight(), mean, mean, information, FIRST_ROUND)
    trust = noise.trust(first.residuals, params.box.huber)
    found = fit(model, noise.weight(trust), first.parameters, mean, information, LATER_ROUND)
    left, right = found.of(np.arange(len(rows))), found.of(len(rows) + np.arange(len(rows)))
    ratio = np.clip(left.log_evidence - right.log_evidence, -50.0, 50.0)
    best = mixed(1.0 / (1.0 + np.exp(-ratio)), left, right)
    many = (noise.trust(found.residuals, params.box.huber) < LEFT_OUT).sum(axis=(1, 2)).reshape(2, -1)
    share = np.where(ratio > 0.0, *many) / np.maximum(np.isfinite(batch.view.sigma[rows]).sum(axis=(1, 2)), 1)
    hidden = Fit(best.parameters, best.covariance, best.log_evidence + params.hidden_log_prior, best.residuals)
    return hidden, share
