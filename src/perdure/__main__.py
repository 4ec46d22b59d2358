"""`python -m perdure`, which is the console script too."""

import signal
from importlib import import_module


def main() -> None:
    """Ctrl-C ends the process like any other from the first moment on: what a command has to say of it comes later."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    import_module("perdure.cli.main").main()


if __name__ == "__main__":
    main()
