"""Snapshots of prefixes: the format, and how snapshots are published and followed."""
