import threading
import time

inside = 0
most = 0
lock = threading.Lock()


def init():
    pass


def run(data):
    global inside, most
    with lock:
        inside += 1
        most = max(most, inside)
    time.sleep(float(data or 0))
    with lock:
        inside -= 1
    return most
