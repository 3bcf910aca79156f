"""Cards of a run: what is known of it, read from its artifacts, and what is not."""
