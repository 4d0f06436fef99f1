"""Learned weightings: rules that weigh the terms of the loss anew at every step of a run.

A rule gives the weights of a step from the terms' values L_1..L_K, which it may not differentiate,
from its state, which it may move on, and from where the step lies. It draws from nothing else, so
that a run resumed from its checkpoint goes on bit for bit. What the trainer keeps of one run is one
`Weighting`. Equations with their sources: docs/weightings.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightsearch.depth.loss.masked import Scalar
from weightsearch.study import search_space
from weightsearch.study.spec import StudySpec

Values = Float[Tensor, "terms"]
State = dict[str, Tensor]
"""What a rule goes on from, by name; what requires gradients is trained with the network."""

TEMPERATURE = 2.0
"""DWA's, as in its paper."""
LEAST = 1e-8
"""The geometric mean takes a smaller loss for this: the slope of a root is infinite at 0."""


@dataclass(frozen=True)
class Step:
    """Where a step lies in its run."""

    seed: int
    """Of its random draws: no other step's."""
    epoch: int
    """So many whole epochs lie before it."""
    step: int
    """So many steps of its epoch."""
    steps: int
    """Of an epoch."""

    def before(self) -> int:
        """So many steps of the run lie before it."""
        return self.epoch * self.steps + self.step


class Setting(NamedTuple):
    """What a run's rule is told once."""

    spec: StudySpec
    steps: int
    """Of the whole run, if it trains all its epochs."""

    def zeros(self, *names: str) -> State:
        return {name: torch.zeros(len(self.spec.loss.terms)) for name in names}


def uncertainty(losses: Values, state: State, at: Step) -> Values:
    """w_i = exp(-s_i) / 2; s_i = ln sigma_i^2 is trained, and begins at 0.

    The loss is sum_i L_i / (2 sigma_i^2) + ln sigma_i: Kendall, Gal, Cipolla, CVPR 2018
    (arXiv 1705.07115), section 3.2.
    """
    return (-state["log_variance"]).exp() / 2


def _log_deviations(state: State) -> Scalar:
    """sum_i ln sigma_i, without which the weights would vanish."""
    return state["log_variance"].sum() / 2


def cov(losses: Values, state: State, at: Step) -> Values:
    """w_i = c_i / sum_j c_j, where c_i = sigma_i / mu_i is the coefficient of variation so far of
    the ratio l_i = L_i / (mean of L_i so far); equal weights in the first two steps.

    CoV-Weighting, Groenendijk et al., WACV 2021 (arXiv 2009.01717), section 3.2, with the full
    history; "so far" is before this step, as in the authors' code. The moments are Welford's.
    """
    before = at.before()
    ratio = torch.where(state["mean"] > 0, losses / state["mean"], 1.0)
    varied = (state["squares"] / max(1, before)).sqrt() / state["ratio"]
    total = varied.sum()
    shares = torch.where(total > 0, varied / total, 1 / len(losses))
    off = ratio - state["ratio"]
    state["ratio"] += off / (before + 1)
    state["squares"] += off * (ratio - state["ratio"])
    state["mean"] += (losses - state["mean"]) / (before + 1)
    return torch.full_like(losses, 1 / len(losses)) if before < 2 else shares


def dwa(losses: Values, state: State, at: Step) -> Values:
    """w_i = K softmax_i(r_i / T), where r_i = L_i(t - 1) / L_i(t - 2) of the mean losses of the two
    epochs before epoch t, and T = 2; w_i = 1 in the first two epochs.

    Dynamic weight average, Liu, Johns, Davison, CVPR 2019 (arXiv 1803.10704), equation 7.
    """
    if at.step == 0 and at.epoch:
        state["earlier"].copy_(state["last"])
        state["last"].copy_(state["sum"] / at.steps)
        state["sum"].zero_()
    state["sum"] += losses
    if at.epoch < 2:
        return torch.ones_like(losses)
    ratio = torch.where(state["earlier"] > 0, state["last"] / state["earlier"], 1.0)
    return len(losses) * (ratio / TEMPERATURE).softmax(0)


def random(losses: Values, state: State, at: Step) -> Values:
    """w = softmax(z), z from the standard normal distribution, drawn anew at each step.

    Random loss weighting, Lin et al., TMLR 2022 (arXiv 2111.10603).
    """
    drawn = torch.randn(len(losses), generator=torch.Generator().manual_seed(at.seed))
    return drawn.softmax(0).to(losses)


def geometric(losses: Values, state: State, at: Step) -> Values:
    """w_i = G / (K L_i), where G = (prod_i L_i)^(1/K): their weighted sum is G, and its gradient is
    G's.

    Geometric loss strategy, Chennupati et al., CVPR Workshops 2019 (arXiv 1904.08492).
    """
    logs = losses.clamp(min=LEAST).log()
    return (logs.mean() - logs).exp() / len(losses)


def warm_up(losses: Values, state: State, at: Step) -> Values:
    """w = (1 - a) start + a end, each in canonical form; a grows from 0 to 1 over `warm_up.share`
    of the run's epochs, step by step."""
    along = (at.before() / state["steps"]).clamp(max=1)
    return torch.lerp(state["start"], state["end"], along)


def _ends(setting: Setting) -> State:
    loss = setting.spec.loss
    assert loss.warm_up is not None  # study/learned_weightings.py refuses a study without it
    directions = search_space.are_directions(loss, setting.spec.train)
    ends = {
        name: search_space.canonical(search_space.written(loss.terms, given), directions)
        for name, given in (("start", loss.warm_up.start), ("end", loss.warm_up.end))
    }
    moves = {"steps": torch.tensor(loss.warm_up.share * setting.steps)}
    return moves | {name: torch.tensor([float(w) for w in e.values()]) for name, e in ends.items()}


class Rule(NamedTuple):
    """One way to weigh."""

    weights: Callable[[Values, State, Step], Values]
    """Of the terms in this step; called once a step, in order."""
    state: Callable[[Setting], State] = lambda setting: {}
    """Before a run's first step."""
    penalty: Callable[[State], Scalar] | None = None
    """What the loss has beside the weighted sum."""


WEIGHTINGS: dict[str, Rule] = {
    "uncertainty": Rule(
        uncertainty,
        lambda setting: {n: v.requires_grad_() for n, v in setting.zeros("log_variance").items()},
        _log_deviations,
    ),
    "cov": Rule(cov, lambda setting: setting.zeros("mean", "ratio", "squares")),
    "dwa": Rule(dwa, lambda setting: setting.zeros("sum", "last", "earlier")),
    "random": Rule(random),
    "geometric": Rule(geometric),
    "warm-up": Rule(warm_up, _ends),
}


@dataclass
class Weighting:
    """The weighting of one run with everything that training changes of it."""

    rule: Rule
    state: State
    rows: Float[Tensor, "steps terms"]
    """The weights of each step of the epoch."""

    def total(self, losses: Values, at: Step) -> tuple[Scalar, Values]:
        """The loss of a step, and the weights in it; called once a step, in order."""
        weights = self.rule.weights(losses.detach(), self.state, at)
        self.rows[at.step] = weights.detach()
        loss = (losses * weights).sum()
        if self.rule.penalty is not None:
            loss = loss + self.rule.penalty(self.state)
        return loss, weights.detach()

    def trained(self) -> State:
        """What the optimizer moves, without weight decay: it would pull a variance to 1."""
        return {f"weighting/{n}": v for n, v in self.state.items() if v.requires_grad}

    def tensors(self) -> State:
        """For a checkpoint: all that the run's weighting goes on from."""
        return {**self.state, "rows": self.rows}

    def means(self) -> Values:
        """Of the epoch's steps, each with weights made to sum to 1."""
        return (self.rows / self.rows.sum(1, keepdim=True)).mean(0)


class Learned(NamedTuple):
    """A learned weighting, as a run is told of it."""

    name: str
    """A key of WEIGHTINGS."""
    epochs: int
    """Of the whole run."""

    def begin(self, spec: StudySpec, steps: int, device: torch.device) -> Weighting:
        """That of a run that has not begun, with epochs of so many steps."""
        rule, setting = WEIGHTINGS[self.name], Setting(spec, self.epochs * steps)
        state = {n: _placed(value, device) for n, value in rule.state(setting).items()}
        rows = torch.zeros(steps, len(spec.loss.terms), device=device)
        return Weighting(rule, state, rows)


def _placed(value: Tensor, device: torch.device) -> Tensor:
    return value.detach().to(device).requires_grad_(value.requires_grad)
