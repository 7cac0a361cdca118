"""The servers with which Callout is compared (peers), one in each file. The benchmark that needs a peer starts it."""
