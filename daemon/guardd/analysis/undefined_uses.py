"""Names that can only fail: nothing binds them, or the module does so only after it has used them. Run in the parsing process."""

import ast
import re
from collections.abc import Iterator, Sequence

_CATCHES_NAME_ERROR = {"NameError", "Exception", "BaseException"}
_DEPENDS = re.compile(r"version_info|\bPY\d|\bpy\d|platform|TYPE_CHECKING|globals|locals|builtins|False|hasattr")
"""Of a condition: whether it asks which Python this is, or whether a name is there."""

_ENDS = {"exit", "_exit", "quit", "abort", "skip", "fail"}
_MOST = 50
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def uses(tree: ast.Module, names: set[str], lines: set[int]) -> list[tuple[str, int]]:
    """(name, line) of the uses of these names that must fail once they are reached.

    `lines` are those on which the functions and classes begin that use one: the bodies of others are not looked at.
    Not in a branch for other Pythons, nor where NameError is expected, nor in a class body that a metaclass may have filled,
    nor in functions inside of functions, which tests make to look at, and not to call.
    """
    found: set[tuple[str, int]] = set()
    todo: list[tuple[ast.AST, int, bool]] = [(tree, 0, False)] if names else []
    while todo:
        node, depth, is_filled = todo.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Load()) if name in names and not is_filled:
                found.add((name, node.lineno))
            case ast.AnnAssign():  # an annotation need not be evaluated
                todo += [(node.value, depth, is_filled)] if node.value else []
                continue
            case _ if _expects_name_error(node) or (depth and isinstance(node, _FUNCTIONS)):
                continue
        body: Sequence[ast.AST] = ()
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            body = node.body if isinstance(node.body, list) else [node.body]
            if isinstance(node, ast.Lambda) or _first_line(node) in lines:
                below, filled = (
                    (depth, bool(node.bases or node.keywords)) if isinstance(node, ast.ClassDef) else (depth + 1, False)
                )
                todo += [(one, below, filled) for one in body]
        elif isinstance(node, (ast.Try, ast.TryStar)) and any(map(_catches_name_error, node.handlers)):
            body = node.body
        known = set(map(id, body))
        todo += [(one, depth, is_filled) for one in ast.iter_child_nodes(node) if id(one) not in known]
    return sorted(found)[:_MOST]


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """As code objects have it: that of the first decorator."""
    return min([node.lineno, *(one.lineno for one in node.decorator_list)])


def _expects_name_error(node: ast.AST) -> bool:
    """Whether a use in this is meant to fail, or is not reached where it would: a statement that is but a name is, too."""
    match node:
        case ast.If(test=test):
            return _DEPENDS.search(ast.unparse(test)) is not None
        case ast.With(items=items):
            return any("NameError" in ast.unparse(one) for one in items)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Name)


def early(tree: ast.Module, names: set[str]) -> list[tuple[str, int]]:
    """(name, line) of the loads that the import of the module certainly carries out before the statement that binds the name."""
    bound = {name: -1 for statement in tree.body for name in _binds(statement)} if names else {}
    for at, statement in reversed(list(enumerate(tree.body)) if names else []):
        for name in _binds(statement):
            plain = isinstance(statement, (*_DEFINITIONS, ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom))
            bound[name] = at if plain else -1
    found = set[tuple[str, int]]()
    for at, statement in enumerate(tree.body if names and "*" not in bound else ()):
        if _ends(statement):
            break
        found.update(use for use in _loads(statement) if use[0] in names and bound.get(use[0], -1) >= at)
    return sorted(found)[:_MOST]


def _binds(statement: ast.AST) -> Iterator[str]:
    """The names that a statement of a module binds in it, with those of comprehensions, which makes one too many at most."""
    todo = [statement]
    while todo:
        node = todo.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
                todo += node.decorator_list
                continue
            case ast.Lambda():
                continue
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.alias():
                yield node.asname or node.name.partition(".")[0]
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
        todo += ast.iter_child_nodes(node)


def _loads(statement: ast.stmt) -> Iterator[tuple[str, int]]:
    """(name, line) of what a statement certainly loads when it is reached."""
    if isinstance(statement, ast.ClassDef) and not statement.bases and not statement.keywords:
        own = {name for one in statement.body for name in _binds(one)}
        yield from (use for one in statement.body for use in _loads(one) if use[0] not in own)
    todo = list(_evaluated(statement))
    while todo:
        node = todo.pop()
        match node:
            case ast.Name(ctx=ast.Load()):
                yield node.id, node.lineno
            case ast.Lambda():
                todo += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                todo.append(node.generators[0].iter)
            case ast.BoolOp():
                todo.append(node.values[0])
            case ast.IfExp():
                todo.append(node.test)
            case ast.Compare():
                todo += [node.left, node.comparators[0]]
            case _:
                todo += ast.iter_child_nodes(node)


def _evaluated(statement: ast.stmt) -> Sequence[ast.AST]:
    """The expressions that a statement evaluates at once. No annotations: from Python 3.14 on they wait."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return [*statement.decorator_list, *statement.args.defaults, *filter(None, statement.args.kw_defaults)]
        case ast.ClassDef() if not getattr(statement, "type_params", None):
            return [*statement.decorator_list, *statement.bases, *(one.value for one in statement.keywords)]
        case ast.Expr(value=first) | ast.Assign(value=first) | ast.AnnAssign(value=ast.expr() as first):
            return [first]
        case ast.If(test=first) | ast.While(test=first) | ast.Assert(test=first) | ast.For(iter=first) | ast.Match(subject=first):
            return [first]
        case ast.With(items=[ast.withitem(context_expr=first), *_]):
            return [first]
    return []


def _ends(statement: ast.stmt) -> bool:
    """Whether no statement after this one may be reached."""
    match statement:
        case ast.Raise():
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name))):
            return name in _ENDS
    return False


def _catches_name_error(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or getattr(kind, "id", "") in _CATCHES_NAME_ERROR for kind in kinds)
