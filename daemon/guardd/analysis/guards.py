"""Which statements let an import inside them fail, or may never carry it out. Run in the parsing process."""

import ast
import re

_CATCHES = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_IS_CLASS = re.compile(r"[A-Z]\w*[a-z]")
"""How exceptions are named; anything else that is caught may be a tuple of whatever."""

_CONDITION = re.compile(
    r"TYPE_CHECKING|\bMYPY|platform|version|implementation|\bos\.name|uname|hexversion|maxsize|\bPY\d|\bpypy|"
    r"(?i:(?:^|[\W_])(?:is|has|have|use|with|can|no|enable\w*|support\w*)_\w)|(?i:available|installed|find_spec|environ|getenv)|"
    r"sys\.modules|hasattr|getattr|__debug__|sys\.flags|^(?:not )?(?:\w+\.)*[A-Z][A-Z\d_]+$"
)
"""Conditions on where the code runs, or on what is there; a constant alone (`TWISTED_NEW_API`) most often tells of these."""

_NEVER = re.compile(r"(?:False|0|None|not True)$")
_PLAIN_CONTEXTS = {"catch_warnings", "open", "lock", "Lock", "subTest", "nullcontext", "TemporaryDirectory", "closing", "timer"}
_EXPECTED = re.compile(
    rb"""importorskip\(\s*["']([\w.]+)|(?<!importlib\.)\bimport_module\(\s*["']([\w.]+)|modules\[\s*["']([\w.]+)["']\s*\]\s*=""",
    re.ASCII,
)
_FALLIBLE_DECORATORS = re.compile(r"skip|xfail|require|need|import|raises|only|patch|expected", re.IGNORECASE)


def lets_fail(node: ast.stmt) -> bool:
    """Whether an import inside of a statement may fail unseen, or whether it is made depends on where the code runs."""
    match node:
        case ast.If(test=test) | ast.While(test=test):
            text = ast.unparse(test)
            return _CONDITION.search(text) is not None or _NEVER.match(text) is not None
        case ast.Match(subject=subject):
            return _CONDITION.search(ast.unparse(subject)) is not None
        case ast.With(items=items) | ast.AsyncWith(items=items):
            return any(_may_suppress(item.context_expr) for item in items)
        case ast.FunctionDef(name="__init__", args=ast.arguments(posonlyargs=[], args=[], vararg=None)):
            return True  # no method: tests of imports write modules so
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return any(_FALLIBLE_DECORATORS.search(ast.unparse(one)) for one in node.decorator_list)
        case ast.Try(handlers=handlers) | ast.TryStar(handlers=handlers):
            return any(_catches(handler.type) for handler in handlers)
    return False


def _catches(kind: ast.expr | None) -> bool:
    match kind:
        case None:
            return True
        case ast.Tuple(elts=kinds):
            return any(map(_catches, kinds))
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in _CATCHES or not _IS_CLASS.match(name)
    return True


def _may_suppress(context: ast.expr) -> bool:
    """Whether a context may swallow an ImportError, or put modules in place: all that are not known to do neither."""
    called = context.func if isinstance(context, ast.Call) else context
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    return name not in _PLAIN_CONTEXTS and not name.lower().endswith("lock")


def skipped_without(source: bytes, used: set[str]) -> set[str]:
    """Modules without which the rest of a file is not run, or that it puts in place itself, as its text says."""
    if not {"importorskip", "import_module", "modules"} & used:
        return set()
    return {name.decode() for names in _EXPECTED.findall(source) for name in names if name}


def is_expected(module: str, expected: set[str]) -> bool:
    """Whether one of the expected modules is this one, or above it."""
    return any(module == one or module.startswith(one + ".") for one in expected)
