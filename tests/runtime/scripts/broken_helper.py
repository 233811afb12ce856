def prepare():
    settings = {}
    return settings["threshold"]
