"""The parts of the Redis ledger: the book that runs on the server, what crosses the wire, and the connection."""
