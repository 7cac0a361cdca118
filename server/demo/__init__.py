"""``callout demo``: a server with a simulated city around it, and the functions for its visitors."""
