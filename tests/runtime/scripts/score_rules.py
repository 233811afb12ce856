def doubled(text):
    return text * 2
