"""The studio's side of the line: registration, the WebSocket session, log shipping."""
