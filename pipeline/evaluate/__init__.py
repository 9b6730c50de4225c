"""Off-policy evaluation: what another policy would have earned, from decisions that were logged.

log.py           a log's columns
ledger.py        ledger records → a log
open_bandit.py   an Open Bandit campaign → a log
target.py        the policy in question: its propensities for each logged decision
learned.py       the same for a policy that has learned: from a snapshot, or from the log itself, cross-fitted
ranks.py         P(an arm is the r-th best), for policies that fill several positions
reward_model.py  what each arm would have earned, predicted from exact sums that leave a decision's own fold out
terms.py         log, target and reward model → weight, reward and prediction of each decision
estimators.py    IPS, SNIPS, clipped IPS, DM, DR, Switch-DR
intervals.py     how sure: bootstrap and empirical Bernstein
support.py       whether the log can answer: effective sample size, and warnings
evaluate.py      all of it, for one target
picture.py       the estimates as a picture

All but `read.py`, `open_bandit.py` and `picture.py` is pure.
"""
