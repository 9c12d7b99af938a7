"""What is seen while a run is under way: the log, the journal, the progress, the plan."""
