"""From a delivery to a published generation."""
