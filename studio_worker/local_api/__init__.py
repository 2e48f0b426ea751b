"""The loopback listener: health and daemon control."""
