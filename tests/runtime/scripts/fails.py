import sys


def init():
    pass


def run(data):
    if data == "exit":
        sys.exit(1)
    if data == "http":
        from flask import Response

        return Response("given up", 502)
    raise KeyError(f"not in the table: {data}")
