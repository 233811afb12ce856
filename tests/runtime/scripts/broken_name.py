"""Forgets an import.

The comment makes
the line
number
interesting.
"""

CONSTANT = 1


def init():
    global mean
    mean = np.zeros(3)


def run(data):
    return data
