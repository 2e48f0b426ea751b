"""What this machine has made: written down by job hooks, shown by `studio-worker tally`."""
