def init():
    pass


run = "not a function"
