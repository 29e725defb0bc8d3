"""Ledger stores: one plugin per file."""
