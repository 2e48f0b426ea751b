"""One job from offer to acknowledged result."""
