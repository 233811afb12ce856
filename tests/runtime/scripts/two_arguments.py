def init():
    pass


def run(first, second):
    return first + second
