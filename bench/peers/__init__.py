"""What Callout is measured against, each in a file of its own, started by the benchmark that asks for it."""
