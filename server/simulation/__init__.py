"""Simulated users, who use Callout only as an outside client does, over HTTP and WebSockets."""
