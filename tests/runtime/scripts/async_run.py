import asyncio


async def init():
    global ready
    await asyncio.sleep(0)
    ready = "yes"


async def run(data):
    await asyncio.sleep(0)
    return pieces(data) if data.startswith("stream") else {"ready": ready, "data": data}


async def pieces(data):
    for piece in data.split():
        await asyncio.sleep(0)
        yield piece
