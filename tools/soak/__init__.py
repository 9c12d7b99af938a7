"""Agents under a storm of changes, signals and clocks, and what must hold during and after it."""
