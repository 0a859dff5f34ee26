"""A threaded TCP server on the loopback address that nothing can hang: every wait has an end."""

import contextlib
import socket
import threading

TIMEOUT = 10.0  # seconds: the longest any single send or receive may take


class TcpServer:
    """Accept connections on 127.0.0.1:0 and run `handle(connection)` in a thread for each."""

    def __init__(self, handle):
        self._handle = handle
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self._closing = threading.Event()
        self._connections, self._threads, self.errors = [], [], []
        self._accepter = threading.Thread(target=self._accept, daemon=True)
        self._accepter.start()

    @property
    def port(self):
        """Port the server listens on."""
        return self._listener.getsockname()[1]

    def _accept(self):
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # nobody came, or closed
                continue
            connection.settimeout(TIMEOUT)
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection):
        with connection:
            try:
                self._handle(connection)
                # closing with something unread would reset the connection, and lose what is still on its way
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except OSError:  # the client left, or time is up
                pass
            except Exception as error:
                self.errors.append(error)

    def wait(self, timeout=5.0):
        """Wait until the connections made so far have ended."""
        for thread in list(self._threads):
            thread.join(timeout)

    def close(self):
        """Stop listening and end all connections."""
        self._closing.set()
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in [self._accepter, *self._threads]:
            thread.join(2)
