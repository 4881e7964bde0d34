"""What probes found: typed tables, how they are kept, and what of them may be shown."""
