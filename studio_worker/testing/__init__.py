"""The kit for tests of workers and engines: a studio that follows a script."""
