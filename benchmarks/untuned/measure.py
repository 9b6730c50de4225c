"""`auto` as it ships and without its floor, beside peers tuned in each environment; seed by seed on the same visitors.

Every configuration of the peers is played on trial seeds, and the one with the least regret there on the seeds that are
reported. In hindsight on few seeds the best of many is the boldest: what hardly explores has next to no regret where it
is lucky, and a hundred times the median where it isn't. `auto` is one setting for all. Regret, its mean over the seeds
and its 90 % point.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning import REFRESH
from benchmarks.peers import textbook
from benchmarks.untuned.cases import CASES
from pipeline.models.model import Floats
from pipeline.simulate.environment import Setting
from pipeline.simulate.learner import Learner
from pipeline.simulate.player import News, Player
from pipeline.simulate.run import run
from pipeline.simulate.spec import definition_of
from pipeline.simulate.summary import standard_error

SHIPPED, BARE = "auto", "auto, floor 0"
LIBRARIES = {"MABWiser": "mabwiser", "VW": "vowpalwabbit"}
"""Peer → the module that must be there."""


@dataclass(frozen=True, slots=True)
class Found:
    """One environment."""

    case: str
    shipped: Floats
    """Regret by seed."""
    bare: Floats
    peer: str
    """The configuration that was best on the trial seeds."""
    tuned: Floats
    """Its regret, on the same seeds as the others."""

    @property
    def ratio(self) -> float:
        """Regret as shipped, of the best peer's."""
        return float(self.shipped.mean() / self.tuned.mean())

    @property
    def behind(self) -> tuple[float, float]:
        """How much more regret than the best peer, paired, and its standard error."""
        return _paired(self.shipped, self.tuned)

    @property
    def is_level(self) -> bool:
        """Whether it is better than the best peer, or at most one standard error behind."""
        difference, error = self.behind
        return difference <= error

    @property
    def floor_cost(self) -> tuple[float, float]:
        """What the floor costs, of the regret without it, paired, and its standard error."""
        cost, error = _paired(self.shipped, self.bare)
        return cost / float(self.bare.mean()), error / float(self.bare.mean())

    def to_plain(self) -> dict[str, Any]:
        """Give the JSON value."""
        return {
            "case": self.case,
            "peer": self.peer,
            "ratio": self.ratio,
            **{name: getattr(self, name).tolist() for name in ("shipped", "bare", "tuned")},
        }


def measure(
    seeds: Sequence[int],
    trial_seeds: Sequence[int],
    names: Sequence[str] = tuple(CASES),
    *,
    scale: float = 1.0,
    libraries: bool = True,
    kept: Path | None = None,
    processes: int = 1,
) -> Iterator[Found]:
    """Yield what was found in each environment, as it is played; peers are chosen on the trial seeds alone.

    Raises ValueError where the two have a seed in common.
    """
    if shared := set(seeds) & set(trial_seeds):
        raise ValueError(f"a peer is chosen on other seeds than it is judged by: seen {min(shared)} in both")
    with ProcessPoolExecutor(processes, initializer=partial(os.environ.update, OMP_NUM_THREADS="1")) as pool:
        for name in names:
            tried = {
                peer: [pool.submit(_regret, name, peer, seed, scale, kept) for seed in trial_seeds]
                for peer in peers(CASES[name].make().setting, libraries=libraries)
            }
            best = min(tried, key=lambda peer: float(_all(tried[peer]).mean()))
            jobs = [
                [pool.submit(_regret, name, player, seed, scale, kept) for seed in seeds]
                for player in (SHIPPED, BARE, best)
            ]
            shipped, bare, tuned = (_all(waiting) for waiting in jobs)
            yield Found(name, shipped, bare, best, tuned)


def peers(setting: Setting, *, libraries: bool) -> list[str]:
    """Return every configuration that is tuned over, its family first."""
    found = [f"textbook {one}" for one in textbook.configurations(setting)]
    for family, module in LIBRARIES.items():
        if libraries and find_spec(module) is not None:
            found += [f"{family} {one}" for one in _library(family)[0](setting)]
    return found


def table(found: Sequence[Found]) -> str:
    """Return the results as Markdown."""
    lines = [
        "| environment | `auto` as shipped, p90 | floor 0 | the floor costs | tuned peer, p90 | more, paired | of it |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        cost, error = one.floor_cost
        cells = (
            one.case,
            f"{_figure(one.shipped)}, {np.quantile(one.shipped, 0.9):,.4g}",
            _figure(one.bare),
            f"{cost:+.1%} ± {error:.1%}",
            f"{_figure(one.tuned)}, {np.quantile(one.tuned, 0.9):,.4g} ({one.peer})",
            "{:+,.4g} ± {:,.2g}".format(*one.behind),
            f"{one.ratio:.2f}" if one.is_level else f"**{one.ratio:.2f}**",
        )
        lines.append("| " + " | ".join(cells) + " |")
    level = sum(one.is_level for one in found)
    lines += ["", f"Better or within one standard error in {level} of {len(found)}; in bold where it is neither."]
    return "\n".join(lines) + "\n"


def _regret(case: str, name: str, seed: int, scale: float, kept: Path | None) -> float:
    """Play one run, or read what came of it."""
    decisions = max(int(CASES[case].decisions * scale), 50)
    path = kept and kept / f"{case}-{decisions}" / re.sub(r"[^\w.=-]+", "_", name) / str(seed)
    if path and path.exists():
        return float(path.read_text(encoding="utf-8"))
    environment = CASES[case].make()
    environment.reset(seed)
    player = _player(name, environment.setting, seed)
    regret = run(environment, player, decisions, refresh=REFRESH).total_regret
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(repr(regret), encoding="utf-8")
    return regret


def _player(name: str, setting: Setting, seed: int) -> Player:
    family, _, configuration = name.partition(" ")
    if family == "textbook":
        return textbook.TextbookPlayer(configuration, setting, seed)
    if family in LIBRARIES:
        return _Scaled(_library(family)[1](configuration, replace(setting, low=0.0, high=1.0), seed), setting)
    spec, _, floor = name.partition(", floor ")
    definition = definition_of(spec, setting, floor=float(floor) if floor else None, settle="optimistic")
    return Learner(name, definition, setting, np.random.default_rng((seed, 1)))


class _Scaled:
    """A peer that is told rewards as parts of their bounds, as who tunes it would."""

    def __init__(self, player: Player, setting: Setting) -> None:
        self._player, self._low, self._span = player, setting.low, setting.high - setting.low
        self.name, self.settle, self.choose = player.name, player.settle, player.choose

    def learn(self, news: News) -> None:
        """See `Player`."""
        self._player.learn(news._replace(after=(news.after - self._low) / self._span))


def _library(family: str) -> tuple[Callable[[Setting], list[str]], Callable[[str, Setting, int], Player]]:
    """Return what a peer is tuned over, and how one is made."""
    if family == "MABWiser":
        from benchmarks.peers import mabwiser_player  # noqa: PLC0415  optional

        return mabwiser_player.configurations, mabwiser_player.MabwiserPlayer
    from benchmarks.peers import vowpal_player  # noqa: PLC0415  optional

    return vowpal_player.configurations, vowpal_player.VowpalPlayer


def _all(waiting: Sequence[Future[float]]) -> Floats:
    return np.array([one.result() for one in waiting])


def _paired(one: Floats, other: Floats) -> tuple[float, float]:
    return float((one - other).mean()), standard_error(one - other)


def _figure(regrets: Floats) -> str:
    return f"{regrets.mean():,.4g} ± {standard_error(regrets):,.2g}"


def to_plain(found: Sequence[Found]) -> list[Mapping[str, Any]]:
    """Give the JSON value of all."""
    return [one.to_plain() for one in found]
