"""What a run leaves for those who watch: `last_run.json`, metrics, pings, the fleet view."""
