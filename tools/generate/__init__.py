"""Make the files below `etc` that follow from the code and the README. Not a part of the installed package."""
