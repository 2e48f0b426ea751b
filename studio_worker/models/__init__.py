"""Model files: what an engine loads, and where the files lie."""
