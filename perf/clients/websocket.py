"""WebSocket echo server and client for the soak run (Debian: python3-websockets).

server: prints the port it listens on, echoes every message until killed.
client URL CONNECTIONS MESSAGES: each connection sends MESSAGES messages of growing size, one after another, and
compares what comes back; prints "connections N messages N errors N".
"""

import asyncio
import sys

import websockets

IN_PARALLEL = 8


async def echo(socket, _path=None):
    async for message in socket:
        await socket.send(message)


async def serve():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


async def one_connection(url, messages):
    async with websockets.connect(url, max_size=None) as socket:
        for number in range(messages):
            text = f"{number} " + "x" * (number * 37 % 5000)
            await socket.send(text)
            if await socket.recv() != text:
                raise ValueError("the echo differs")


async def load(url, connections, messages):
    left = list(range(connections))
    errors = 0

    async def worker():
        nonlocal errors
        while left:
            left.pop()
            try:
                await one_connection(url, messages)
            except Exception as error:  # every kind counts, and is shown
                errors += 1
                print(repr(error), file=sys.stderr)

    await asyncio.gather(*(worker() for _ in range(IN_PARALLEL)))
    print(f"connections {connections} messages {connections * messages} errors {errors}")


if sys.argv[1] == "server":
    asyncio.run(serve())
else:
    asyncio.run(load(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
