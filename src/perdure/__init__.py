"""perdure: durable workflow executions behind one API.

Code that runs as a node may import `artifact`, `context` and `progress` from here; importing this
package alone costs next to nothing.
"""

from importlib import import_module

# Type checkers take it for true, and `typing` need not be loaded for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from perdure.nodes.authoring import Context, Published, artifact, context, progress

__all__ = ["Context", "Published", "artifact", "context", "progress"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("perdure.nodes.authoring"), name)
    raise AttributeError(f"module 'perdure' has no attribute {name!r}")
