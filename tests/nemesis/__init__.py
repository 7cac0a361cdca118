"""The fault suite: clients use a server while faults happen, and a checker judges the history that they recorded."""
