closed = []


def init():
    pass


def run(data):
    if data == "closed?":
        return closed
    return words(data)


def words(data):
    if data == "fails at once":
        raise ValueError("the payload")
    try:
        for word in data.split():
            if word == "fails":
                raise ValueError("the payload")
            yield {"word": word} if data.startswith("objects") else f"{word}\n"
    finally:
        closed.append(data)
