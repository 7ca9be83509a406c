"""Feeds: clients that pull what bodies publish, as deliveries of each body's own format."""
