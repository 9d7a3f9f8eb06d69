"""Secret pictures: keyed patterns, and how they are put on the inputs of a model."""
