"""Run: getting the chunks of a sweep done and put together."""
