"""The type checker of the jaxtyping import hook: shapes and dtypes are checked, plain types are not.

Entry points answer bad input with a ValueError of their own ("steps must be a whole number"), and tests read that
sentence; a type checker that looked at `steps: int` first would hide it. So annotations without an array in them count
as `Any` here, and those with one (`Float[Array, "P K"]`, or a union that holds one) are checked by beartype.
"""

import inspect
import re
import typing
from pathlib import Path
from typing import Any

from beartype import beartype
from jaxtyping import AbstractArray


def modules(package):
    """The modules of a package that describe arrays: `Float[Array, "P K"]` and the like."""
    root = Path(__file__).parents[1]
    describes = re.compile(r"\b(Float|Int|Bool|PyTree|Key)\[")
    paths = (path.relative_to(root) for path in (root / package).rglob("*.py") if describes.search(path.read_text()))
    return sorted(".".join(path.with_suffix("").parts) for path in paths)


def shapes(function):
    """beartype, on the parameters and the result that jaxtyping describes."""
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=_relevant(p.annotation)) for p in signature.parameters.values()]
    result = _relevant(signature.return_annotation)
    function.__signature__ = signature.replace(parameters=parameters, return_annotation=result)
    function.__annotations__ = {name: _relevant(hint) for name, hint in function.__annotations__.items()}
    return beartype(function)


def _relevant(hint: Any) -> Any:
    return hint if _describes_array(hint) else Any


def _describes_array(hint: Any) -> bool:
    if inspect.isclass(hint) and issubclass(hint, AbstractArray):
        return True
    return any(_describes_array(argument) for argument in typing.get_args(hint))
