def overlap(first, second):
    """The share of words that two texts have in common."""
    one, other = set(first.lower().split()), set(second.lower().split())
    return len(one & other) / max(len(one | other), 1)
