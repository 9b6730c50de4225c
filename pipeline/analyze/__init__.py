"""Whether to personalise: from a log of decisions, what depends on whom something is shown to, and what that is worth.

log_file.py     a file of decisions → a log
comparable.py   which arms can be compared, in which decisions
fields.py       contexts → what is known of a visitor
scores.py       what each arm would have earned in each decision
association.py  whether something goes along with something else, by subject; several tests by Holm
value.py        rules by nothing, by segment, by context: what they would have earned, and what each field is worth
convergence.py  what can be said by now, and how long until the rest can be
groups.py       a fairness audit: shares and rewards by group
analyze.py      all of it
findings.py     what came of it, as plain values
answer.py       the same in three sentences
picture.py      the same as a picture

All but `picture.py` is pure.
"""
