"""A studio to host yourself: the server side of the wire."""
