"""What nobody tuned, beside peers that were tuned: environments off the scale of `benchmarks/learning.py`.

cases        which environments there are, by family; seeds that nothing was chosen on
amounts      rewards of any size and sign
corners      classes that no line parts
data         scikit-learn's small sets
units        any environment, its rewards and features measured in other units
measure      who plays, and the table
"""
