"""Clients with one rule taken out: from the source of `ClientRound`, without one condition under which it refuses.

A rule is an `if` that does nothing but raise, one operand of an `or` in such an `if`, or a call of `verify`; it is
known by the method it stands in and its text, so that the list follows the source.
"""

from __future__ import annotations

import ast
import inspect
from functools import cache

from roughfed.secagg import client
from roughfed.secagg.client import ClientRound

VERIFIES = ("verify",)


@cache
def rules() -> tuple[str, ...]:
    """All of them: "method: condition"."""
    finder = _Without("")
    finder.visit(ast.parse(inspect.getsource(ClientRound)))
    return tuple(dict.fromkeys(finder.found))


@cache
def without(*taken_out: str) -> type[ClientRound]:
    """The same client without some rules, each named by the only rule that has this text in it."""
    tree = ast.parse(inspect.getsource(ClientRound))
    for text in taken_out:
        fitting = [rule for rule in rules() if text in rule]
        assert len(fitting) == 1, f"{text!r} is in {len(fitting)} rules: {fitting}"
        tree = _Without(fitting[0]).visit(tree)
    names = dict(vars(client))
    code = compile(ast.fix_missing_locations(tree), client.__file__, "exec", flags=_annotations())
    exec(code, names)
    return names["ClientRound"]


def _annotations() -> int:
    import __future__

    return __future__.annotations.compiler_flag


class _Without(ast.NodeTransformer):
    """Takes one rule out, and finds all."""

    def __init__(self, rule: str) -> None:
        self.rule, self.found, self._method = rule, list[str](), ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self._method = node.name
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        if len(node.body) == 1 and isinstance(node.body[0], ast.Raise):
            parts = node.test.values if isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.Or) else []
            for number, part in enumerate(parts):
                if self._is_it(part):
                    parts[number] = ast.Constant(value=False)
            if not parts and self._is_it(node.test):
                node.test = self._never(node.test)
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in VERIFIES:
            return ast.Pass() if self._is_it(call) else node
        return self.generic_visit(node)

    def _is_it(self, part: ast.expr) -> bool:
        rule = f"{self._method}: {ast.unparse(part)}"
        self.found.append(rule)
        return rule == self.rule

    @staticmethod
    def _never(test: ast.expr) -> ast.expr:
        """False, but what the condition names stays named."""
        return ast.BoolOp(
            op=ast.And(),
            values=[ast.BoolOp(op=ast.Or(), values=[test, ast.Constant(value=True)]), ast.Constant(value=False)],
        )
