"""One row of the figures each: a client, and how its users make a call, read a stream, hit its cache."""
