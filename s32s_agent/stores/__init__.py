"""The two sides of a pass, behind one contract (`base.py`)."""
