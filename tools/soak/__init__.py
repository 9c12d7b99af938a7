"""Agents under a storm of changes, signals and clocks, and what must hold meanwhile and afterwards."""
