"""``callout demo``: a server with a simulated city around it, and what a visitor may do there."""
