"""moto's server on 127.0.0.1 and the given port; it ends when stdin does."""
import os
import sys
import threading

from moto.server import main


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_stdin, daemon=True).start()
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
