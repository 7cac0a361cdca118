"""The peers that Callout is compared with, one a file. The benchmark that needs one starts it."""
