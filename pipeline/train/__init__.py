"""A network trained from the ledger: the slow speed of a neural-linear policy, beside the stream.

network    decisions → `Encoder`, by scikit-learn (the extra `train`)
proposal   a policy and its log → the policy of the next generation, and whether it is worth it
"""
