"""The peer in Python: gevent, with the standard library patched. `peer.py serve`, or `peer.py fetch PORT COUNT`."""

from gevent import monkey

monkey.patch_all()

import socket  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402


def echo(connection):
    while True:
        data = connection.recv(4096)
        if not data:
            break
        connection.sendall(data)


def serve():
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        gevent.spawn(echo, connection)


def fetch(port):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
        assert answer.endswith(b"here it is\n"), answer


def fetch_all(port, count):
    begin = time.perf_counter()
    for done in gevent.joinall([gevent.spawn(fetch, port) for _ in range(count)]):
        done.get()
    print(time.perf_counter() - begin)


if sys.argv[1] == "serve":
    serve()
else:
    fetch_all(int(sys.argv[2]), int(sys.argv[3]))
