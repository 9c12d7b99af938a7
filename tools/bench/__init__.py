"""Measures the agent beside rclone, s5cmd and aws-cli on the same work: `python -m tools.bench`.

It installs nothing, speaks to loopback only, and judges no tool by a run whose result was wrong.
"""
