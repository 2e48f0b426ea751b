"""What a model file says at its start, read by us before a native parser reads it."""
