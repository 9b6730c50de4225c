"""Other libraries as players in the same environments, on the same seeds: MABWiser and Vowpal Wabbit.

They are not dependencies: `make bench-learning` installs them, or `pip install -r benchmarks/peers/requirements.lock`.
Each gets the same encoded contexts, learns after the same batches, and is tuned: the table shows the best of its
configurations in each environment, chosen in hindsight, where the platform's policies play with their defaults.
"""
