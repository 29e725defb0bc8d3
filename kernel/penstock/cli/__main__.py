"""`python -m penstock.cli` is the command, where its script is not on the path."""

from penstock.cli import main

main()
