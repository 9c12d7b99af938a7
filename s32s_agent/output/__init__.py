"""What is seen while a run is under way: the log, the journal, the progress, the plan.

Nothing here is drawn by rich, which was tried and measured. Its live display hides the cursor, and a killed run leaves
the terminal without one; on a narrow terminal it wraps the line and cuts the numbers. Its table of 100,000 actions
takes 30 s and 450 MB, where `plan_table` takes 0.4 s and 30 MB. And structlog imports it wherever it is installed,
which costs every run about 0.1 s.
"""
