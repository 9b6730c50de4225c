"""What is watched of a policy while it learns: pure functions of the exact sums that successive snapshots tell.

    totals      decisions counted and rewards, by segment and arm, at one moment
    label_rate  whether outcomes have stopped, or jump: what publishing may be held for
    mix         which arms were shown: shares, coverage, entropy
    watch       of each policy, what was seen so far

Nothing is stored: what a restart forgets is the look that it was in.
"""
