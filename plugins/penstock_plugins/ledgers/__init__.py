"""Ledger stores that penstock ships."""
