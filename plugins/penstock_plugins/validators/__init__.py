"""Validators: each builds values of the types it knows, or checks them."""
