import no_such_package.inner


def init():
    no_such_package.inner.go()


def run(data):
    return data
