"""Engines: what they are, how they are found, how a job is routed to one, and where it runs."""
