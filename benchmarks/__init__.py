"""What penstock costs, beside a floor and beside its peers, measured in one run: `python -m benchmarks`.

Not here: tests of what it does (`tests/`), and the figures of single stores (`benchmarks.stores`).
"""
