"""What a policy is: its arms, segments, features, algorithm, and what its outcomes are worth.

Written by people as TOML, carried on the `policies` topic as canonical JSON: the same keys in both.

    parsing/       TOML or JSON → PolicyDefinition, or every fault at once: `parse`, and a file for each section
    definition     the whole, with the hashes that tell one definition from another
    canonical      PolicyDefinition → JSON bytes, one text for equal definitions
    segments       context → segment
    features       context → context vector on the grid; kinds: of numbers, categories, cycles
    guardrails     floors, eligibility, caps, budget, holdout, rollout: as declared
    reward         credited outcomes → reward on the grid; tallies: what is counted beside it
    changes        which definition may follow which
    operations     kill, revive, roll out: what operators change of a definition
    book           all definitions that are known, by name and generation
    durations, render_value, exact_trigonometry     what they all stand on
"""
