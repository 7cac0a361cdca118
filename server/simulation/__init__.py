"""Simulated users. They use Callout as any client does: only over HTTP and WebSockets."""
