"""Any environment against any policy, without a broker: on the same pure core as the loop.

environment.py   what an environment is: a small protocol, and what it may offer beside
environments/    those that come along: arms, segments, regressions, drift, catalogues, delays, data sets, logs
named.py         an environment by name or `module:Class`
setting.py       an environment's arms, features and rewards → a policy definition for any algorithm
player.py        who chooses and learns: a protocol, so that peers can play too
learner.py       the platform's own: encode, fold, posterior, arm probabilities with floor, draw
run.py           one player in one environment
summary.py       many runs: means, standard errors, curves
picture.py       regret with bands
"""
