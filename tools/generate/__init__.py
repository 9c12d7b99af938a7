"""Write the files below `etc`, and blocks of the documents, that follow from the code. Not installed."""
