"""What a policy earns, and what it would have earned without: the holdout and the policy side by side.

tally.py    ledger entries → decisions and rewards by group, subject, arm, segment   PURE
lift.py     two groups → the difference of their means, and how sure that is         PURE
arms.py     what each arm earns, whoever it was shown to   PURE
report.py   all of it for one policy, as plain values                                PURE
picture.py  the report as a picture
"""
