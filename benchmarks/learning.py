"""How well policies learn: every environment, every policy that suits it, and peers, on the same seeds.

The platform's policies have their defaults everywhere. Of each peer the best configuration in an environment is shown,
chosen in hindsight, on the very seeds that are reported: that flatters them. Regret is the mean over the seeds with its
standard error. What the platform plays was chosen on seeds 101 to 110 and 3,001 to 3,020 and never on those reported.

With a folder `kept`, a run that is in it is not played again: what was stopped goes on where it was. It is for one
state of the code: whoever changes an algorithm begins another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson

from pipeline.simulate.environment import Environment, Setting
from pipeline.simulate.learner import Learner
from pipeline.simulate.named import environment_for
from pipeline.simulate.player import Player
from pipeline.simulate.run import Run, run
from pipeline.simulate.spec import definition_of, suitable
from pipeline.simulate.summary import Summary, summarise

FIRST_SEED = 1_001
FIRST_SEEDS = dict.fromkeys(("bernoulli", "segments", "switching", "drift", "delayed", "display_advertising"), 2_001)
"""Where what is recommended has changed since the first ones had been looked at."""
REFRESH = 20
"""Decisions on one posterior."""
REFRESHES = {"display_advertising": 200}
"""The same where a run has many more decisions: eleven hours of ninety days."""
KEPT = ("arms", "propensities", "rewards", "regrets", "is_best")
"""What is kept of a run: its arrays, that need no pickle."""
SHOWN = 4
"""Policies of the platform in a panel of the picture: more can't be told apart."""
PEERS = {"mabwiser": "MABWiser", "vowpalwabbit": "VW"}

# Environment → decisions in a run of the default size.
ENVIRONMENTS = {
    "bernoulli": 4_000,
    "segments": 3_000,
    "switching": 4_000,
    "drift": 3_000,
    "delayed": 4_000,
    "display_advertising": 40_000,
    "linear": 1_500,
    "logistic": 1_500,
    "wheel": 1_500,
    "catalogue": 750,
    "classification": 1_500,
    "digits": 1_000,
}
OPTIONS = {"switching": {"every": "1000"}, "drift": {"period": "3000"}, "delayed": {"decisions": "4000"}}
LATE = {"delayed", "display_advertising"}
"""Where rewards come late, and so when a decision counts makes a difference."""
# Beside the plain algorithms: what docs/algorithms.md says to do where the world changes, or rewards come late.
SHARP, SHARPER = "beta_thompson:sharpness=2", "beta_thompson:sharpness=4"
FADING, FADING_SOON = "beta_thompson:half_life=300,sharpness=2", "beta_thompson:half_life=100,sharpness=4"
CORRECTED = f"{SHARP}, delay_corrected"
EXTRAS = {
    "bernoulli": (SHARP, SHARPER),
    "segments": (SHARP, SHARPER),
    "switching": ("beta_thompson:half_life=300", FADING, FADING_SOON),
    "drift": ("beta_thompson:half_life=300", FADING, FADING_SOON),
    "delayed": (SHARP,),
    "display_advertising": (SHARP,),
}
# Who is compared with the peers: whom docs/algorithms.md recommends for such a case, not the best in hindsight. One
# set for all: a sharpness of 2 where each arm has a Beta posterior, and how fast the world changes where it does.
RECOMMENDED = {
    "bernoulli": SHARP,
    "segments": "hierarchical_thompson",
    "switching": FADING,
    "drift": FADING,
    "delayed": CORRECTED,
    "display_advertising": CORRECTED,
    "linear": "lin_ucb",
    "logistic": "lin_ucb",
    "wheel": "lin_ucb",
    "catalogue": "hybrid_ucb",
    "classification": "lin_ucb",
    "digits": "lin_ucb",
}

# Where features count by how they go together: the same policy, on an encoder that is trained on the way.
ENCODED = {"wheel": "lin_ucb"}

Make = Callable[[Environment, int], Player]


@dataclass(frozen=True, slots=True)
class Contender:
    """Who plays, and for whom it counts."""

    name: str
    family: str
    """platform, or a peer's name."""
    make: Make


def measure(
    seeds: int,
    scale: float,
    names: Sequence[str] = tuple(ENVIRONMENTS),
    *,
    with_peers: bool = True,
    kept: Path | None = None,
) -> Iterator[tuple[Contender, Summary]]:
    """Yield a summary a contender and environment, as they are played."""
    for name in names:
        if name == "digits" and find_spec("sklearn") is None:
            click.echo("digits: left out, scikit-learn is not installed", err=True)
            continue
        environment = environment_for(name, OPTIONS.get(name, {}))
        decisions = max(int(ENVIRONMENTS[name] * scale), 50)
        first = FIRST_SEEDS.get(name, FIRST_SEED)
        for contender in contenders(name, environment, with_peers=with_peers):
            click.echo(f"{name}: {contender.name}", err=True)
            folder = kept and kept / f"{name}-{decisions}" / re.sub(r"[^\w.=-]+", "_", contender.name)
            refresh = REFRESHES.get(name, REFRESH)
            runs = [_run(environment, contender, decisions, first + i, refresh, folder) for i in range(seeds)]
            yield contender, summarise(name, contender.name, runs)


def contenders(name: str, environment: Environment, *, with_peers: bool) -> Iterator[Contender]:
    """Yield who plays in an environment: everybody whom it suits."""
    setting = environment.setting
    for algorithm in suitable(setting):
        yield Contender(algorithm, "platform", _platform(algorithm, algorithm))
    for spec in EXTRAS.get(name, ()):
        yield Contender(spec, "platform", _platform(spec, spec))
    if name in ENCODED and find_spec("sklearn") is not None:
        from benchmarks.retrained import Retrained  # noqa: PLC0415  optional

        yield Contender(f"{ENCODED[name]}, encoder", "platform", _retrained(Retrained, ENCODED[name]))
    if name in LATE:
        for spec, settle in (
            ("beta_thompson", "wait"),
            ("beta_thompson", "delay_corrected"),
            (SHARP, "delay_corrected"),
        ):
            title = f"{spec}, {settle}"
            yield Contender(title, "platform", _platform(title, spec, settle))
    if with_peers:
        yield from _peers(setting)


def _peers(setting: Setting) -> Iterator[Contender]:
    if find_spec("mabwiser") is not None:
        from benchmarks.peers import mabwiser_player  # noqa: PLC0415  optional

        for one in mabwiser_player.configurations(setting):
            yield Contender(f"MABWiser {one}", "MABWiser", _peer(mabwiser_player.MabwiserPlayer, one))
    if find_spec("vowpalwabbit") is not None:
        from benchmarks.peers import vowpal_player  # noqa: PLC0415  optional

        for one in vowpal_player.configurations(setting):
            yield Contender(f"VW {one}", "VW", _peer(vowpal_player.VowpalPlayer, one))


def _platform(name: str, spec: str, settle: str = "optimistic") -> Make:
    def make(environment: Environment, seed: int) -> Player:
        definition = definition_of(spec, environment.setting, floor=0.0, settle=settle)
        return Learner(name, definition, environment.setting, np.random.default_rng((seed, 1)))

    return make


def _retrained(kind: Callable[..., Player], spec: str) -> Make:
    def make(environment: Environment, seed: int) -> Player:
        setting = environment.setting
        return kind(f"{spec}, encoder", definition_of(spec, setting, floor=0.0, settle="optimistic"), setting, seed)

    return make


def _peer(kind: Callable[..., Player], configuration: str) -> Make:
    return lambda environment, seed: kind(configuration, environment.setting, seed)


def _run(
    environment: Environment, contender: Contender, decisions: int, seed: int, refresh: int, folder: Path | None
) -> Run:
    path = folder and folder / f"{seed}.npz"
    if path and path.exists():
        with np.load(path) as kept:
            return Run(**kept)
    environment.reset(seed)
    played = run(environment, contender.make(environment, seed), decisions, refresh=refresh)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            np.savez_compressed(file, **{name: getattr(played, name) for name in KEPT})
        unfinished.replace(path)
    return played


def table(results: Sequence[tuple[Contender, Summary]]) -> str:
    """Return the results as Markdown: a row a policy, a column an environment, the best of each family in bold."""
    environments = list(dict.fromkeys(summary.environment for _, summary in results))
    found = {(summary.environment, contender.name): (contender, summary) for contender, summary in results}
    best = _best(results)
    ours = list(dict.fromkeys(contender.name for contender, _ in results if contender.family == "platform"))
    lines = ["| policy | " + " | ".join(environments) + " |", "|---|" + "---:|" * len(environments)]
    for name in ours:
        cells = []
        for environment in environments:
            pair = found.get((environment, name))
            cells.append("" if pair is None else _cell(pair[1], is_best=best[environment, "platform"] is pair[1]))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for family in PEERS.values():
        if any(of == family for _, of in best):
            cells = [
                f"{_cell(best[environment, family], is_best=False)} ({_configuration(best[environment, family])})"
                if (environment, family) in best
                else ""
                for environment in environments
            ]
            lines.append(f"| {family}, tuned | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def verdicts(results: Sequence[tuple[Contender, Summary]]) -> list[dict[str, Any]]:
    """Compare the recommended policy with the best peer in each environment, seed by seed.

    Where none is recommended, or it didn't play, the platform's best.
    """
    best = _best(results)
    found = {(summary.environment, contender.name): summary for contender, summary in results}
    said = []
    for environment in dict.fromkeys(summary.environment for _, summary in results):
        peers = [best[environment, family] for family in PEERS.values() if (environment, family) in best]
        if not peers:
            continue
        ours = found.get((environment, RECOMMENDED.get(environment, "")), best[environment, "platform"])
        peer = min(peers, key=lambda summary: summary.regret)
        # The same seeds: differences vary less than regrets do.
        rest = ours.regrets - peer.regrets
        error = float(rest.std(ddof=1) / np.sqrt(len(rest))) if len(rest) > 1 else 0.0
        said.append(
            {
                "environment": environment,
                "policy": ours.player,
                "regret": ours.regret,
                "peer": peer.player,
                "peer_regret": peer.regret,
                "difference": float(rest.mean()),
                "difference_error": error,
                "holds": bool(rest.mean() <= error),
            }
        )
    return said


def write(results: Sequence[tuple[Contender, Summary]], folder: Path, extra: str = "") -> str:
    """Write `learning.json`, `learning.md` and `learning.png`; return the Markdown."""
    from pipeline.simulate.picture import save_picture  # noqa: PLC0415  plots are slow to import

    folder.mkdir(parents=True, exist_ok=True)
    said = verdicts(results)
    plain = [{"family": contender.family, **summary.to_plain()} for contender, summary in results]
    (folder / "learning.json").write_bytes(
        orjson.dumps({"results": plain, "verdicts": said}, option=orjson.OPT_INDENT_2)
    )
    lines = [table(results)]
    if said:
        lines.append("| environment | recommended policy | best peer | difference, paired | at most one s.e. behind |")
        lines.append("|---|---|---|---:|---|")
        lines += [_verdict(one) for one in said]
    text = "\n".join(lines) + "\n" + extra
    (folder / "learning.md").write_text(text, encoding="utf-8")
    title = "Regret: whom docs/algorithms.md recommends, the platform's best, and the best of each peer"
    save_picture(_shown(results), folder / "learning.png", title)
    return text


def _shown(results: Sequence[tuple[Contender, Summary]]) -> list[Summary]:
    """Return of each environment the recommended policy, the best others of the platform, and the best of each peer."""
    best = _best(results)
    shown: list[Summary] = []
    for environment in dict.fromkeys(summary.environment for _, summary in results):
        ours = [
            summary
            for contender, summary in results
            if contender.family == "platform" and summary.environment == environment
        ]
        ours.sort(key=lambda summary: (summary.player != RECOMMENDED.get(environment), summary.regret))
        shown += ours[:SHOWN]
        shown += [best[environment, family] for family in PEERS.values() if (environment, family) in best]
    return shown


def _best(results: Sequence[tuple[Contender, Summary]]) -> dict[tuple[str, str], Summary]:
    best: dict[tuple[str, str], Summary] = {}
    for contender, summary in results:
        key = summary.environment, contender.family
        if key not in best or summary.regret < best[key].regret:
            best[key] = summary
    return best


def _cell(summary: Summary, *, is_best: bool) -> str:
    text = f"{summary.regret:,.4g} ± {summary.regret_error:,.2g}"
    return f"**{text}**" if is_best else text


def _configuration(summary: Summary) -> str:
    return summary.player.partition(" ")[2]


def _verdict(one: dict[str, Any]) -> str:
    cells = (
        one["environment"],
        f"{one['policy']} {one['regret']:,.4g}",
        f"{one['peer']} {one['peer_regret']:,.4g}",
        f"{one['difference']:+,.3g} ± {one['difference_error']:,.2g}",
        "yes" if one["holds"] else "**no**",
    )
    return "| " + " | ".join(cells) + " |"
