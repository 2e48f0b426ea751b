"""Serves one file to all by sendfile, in a process of its own: ``python file_server.py PATH``; prints its port."""

import os
import socket
import sys
import threading
from pathlib import Path


def serve(connection: socket.socket, path: Path) -> None:
    with connection, path.open("rb") as file:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += connection.recv(65_536)
        size = path.stat().st_size
        head = f'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n'
        connection.sendall(head.encode())
        at = 0
        while at < size:
            at += os.sendfile(connection.fileno(), file.fileno(), at, size - at)


def main(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, path), daemon=True).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
