"""Code that tells, publishes and raises texts that a store cannot hold as they are."""

import logging

import perdure
from perdure.nodes.authoring import current_attempt

LONE = "\ud800"
_log = logging.getLogger("odd")


async def tell(text: str) -> None:
    """In the engine's process, past `logging` and `sys.stdout`: pytest listens there, and chokes on half a character."""
    attempt = current_attempt()
    assert attempt is not None
    attempt.log("warning", f"logged {text}{LONE}")
    attempt.write("stdout", f"printed {text}{LONE}\n")
    perdure.progress(1.0, f"done {text}{LONE}")


def tell_afar(text: str) -> None:
    """In a process of the pool."""
    _log.warning("logged %s", text + LONE)
    print(f"printed {text}{LONE}")
    perdure.progress(1.0, f"done {text}{LONE}")


async def raises(text: str) -> None:
    raise ValueError(text + LONE)


def raises_afar(text: str) -> None:
    raise ValueError(text + LONE)


async def media(text: str) -> None:
    perdure.artifact(b"x", name="a.txt", media_type=text)


def media_afar(text: str) -> None:
    perdure.artifact(b"x", name="a.txt", media_type=text)


async def name(text: str) -> None:
    perdure.artifact(b"x", name=text)


async def gives(text: str) -> str:
    return text


async def gives_lone() -> str:
    return LONE
