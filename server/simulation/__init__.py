"""A simulated city: people who use Callout only as an outside client would, over HTTP and WebSockets."""
