"""Pure state machines: no I/O, no clock, no randomness. Usable alone; `now` is always an argument."""
