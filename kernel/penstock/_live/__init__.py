"""The live view of a running kernel: frames over a local socket, for `penstock top`. Off unless `live_view` is set."""
