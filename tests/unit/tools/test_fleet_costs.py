"""The simulation of a fleet, small: what it counts is what the agent's own code asks for."""

from __future__ import annotations

from tools.fleet_costs import simulate, table


def test_a_quiet_minute_costs_one_request_a_slave() -> None:
    result = simulate(slaves=20, objects=6000, changed=2, sample=5)

    assert (result.quiet.requests, result.quiet.bytes) == (20, 0)
    assert result.listing.requests == 20 * 6
    assert 20 * 3 <= result.release.requests <= 20 * 4
    assert result.release.bytes < result.listing.bytes
    assert "20 slaves, 6,000 objects" in table(result)
