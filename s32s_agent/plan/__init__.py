"""Decide. Pure: no disk, no network, no clock, no log."""
