"""MABWiser and Vowpal Wabbit as players; they are installed by `make bench-learning` only."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from pipeline.simulate.environments.bernoulli import Bernoulli
from pipeline.simulate.environments.catalogue import Catalogue
from pipeline.simulate.environments.delayed import Delayed
from pipeline.simulate.environments.linear import Linear
from pipeline.simulate.environments.segments import Segments
from pipeline.simulate.run import run


@pytest.fixture(params=[("mabwiser", "MabwiserPlayer"), ("vowpalwabbit", "VowpalPlayer")], ids=lambda one: one[0])
def peer(request: pytest.FixtureRequest):
    library, name = request.param
    pytest.importorskip(library, reason=f"{library} is a peer of the learning bench: make bench-learning installs it")
    module = import_module(f"benchmarks.peers.{library.removesuffix('wabbit')}_player")
    return getattr(module, name), module.configurations


@pytest.mark.parametrize("kind", [Bernoulli, Segments, Linear, Catalogue, Delayed])
def test_every_configuration_plays_every_kind_of_environment(peer, kind):
    make, configurations = peer
    environment = kind()
    for configuration in configurations(environment.setting):
        environment.reset(1)
        done = run(environment, make(configuration, environment.setting, 1), 200, refresh=20)
        assert np.isfinite(done.regrets).all(), configuration
        for t in range(200):
            if kind is Catalogue:
                assert done.arms[t] in environment.eligible(t)


def test_it_learns_which_arm_is_best(peer):
    make, configurations = peer
    environment = Bernoulli("0.9,0.1")
    for configuration in configurations(environment.setting):
        environment.reset(2)
        done = run(environment, make(configuration, environment.setting, 1), 1_000, refresh=10)
        assert done.is_best[-200:].mean() > 0.8, configuration
