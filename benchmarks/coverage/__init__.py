"""How often the tools' intervals and tests are right, on data whose truth is known.

sample.py      what happened, as plain arrays, and what is true of it
worlds.py      who comes, what they are shown and what they do: one function a kind of data
entries.py     a sample → what the tools read from the ledger
reporting.py   `pipeline report`: the lift, at one look and at any; the groups' means; the holdout's share
peeking.py     the same report looked at every day
evaluating.py  `pipeline evaluate`: each estimator's intervals
advising.py    `pipeline advise`: what it calls the best, and what it says may be chosen
analyzing.py   `pipeline analyze`: false alarms where nothing depends on whom an arm is shown to
cells.py       every tool on every kind of data
run.py         thousands of runs of a cell, kept as they come
table.py       what came of them, in words and as the page in docs/

Data are drawn with numpy by code that shares nothing with the tools, truths come from the parameters by hand, and the
tools are called as the command line calls them, with the defaults that ship: from the entries of the ledger on.
"""
