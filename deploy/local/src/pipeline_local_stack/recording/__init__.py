"""Records the scenarios of the conformance kit from the running system."""
