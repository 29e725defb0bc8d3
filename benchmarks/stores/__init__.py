"""What single stores cost, each by a command of its own: `python -m benchmarks.stores.ledgers` and its neighbours."""
