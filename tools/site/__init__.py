"""What `mkdocs build` needs besides mkdocs: links into the source, and a search that works from the file system."""
