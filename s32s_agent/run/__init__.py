"""One run: load the maps, carry out each mapping, report."""
