"""suspect."""
