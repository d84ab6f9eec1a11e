"""What the units of a network do."""
