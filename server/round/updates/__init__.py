"""The updates of a round, from the first that arrives to their mean: in plain, and under masks."""
