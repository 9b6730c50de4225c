"""What is watched of a policy while it learns: pure functions of the exact sums that successive snapshots tell.

    totals      decisions counted and rewards, by segment and arm, at one moment
    label_rate  whether outcomes have stopped, or jump: what publishing may be held for
    mix         which arms were shown: shares, coverage, entropy
    view        the sums of the last day and of the week before, as all other monitors look at them
    monitors    those: rewards, contexts, regret, features, draws, reasons, delays; what one is: reading
    compare     how far apart two samples are, and whether that is chance
    watch       of each policy, what was seen so far

Nothing is stored: what a restart forgets is the look that it was in.
"""
