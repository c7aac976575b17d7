"""``mutmut`` with this project's choice of faults; the arguments are its own: ``python -m tests.mutation run``."""

from collections.abc import Iterable

import libcst as cst
from mutmut.__main__ import cli
from mutmut.mutation import file_mutation
from mutmut.mutation.mutators import mutation_operators, operator_string

_LOGS = ("debug", "info", "log", "warning", "error")


def change_name(node: cst.BaseString) -> Iterable[cst.CSTNode]:
    """Another string, unless it is a text for people."""
    return [] if _is_text(node) else operator_string(node)


def remove_statement(node: cst.Expr | cst.Raise) -> Iterable[cst.CSTNode]:
    """Nothing in place of a call whose result nobody takes, or of a raise."""
    if isinstance(node, cst.Raise) or (isinstance(node.value, cst.Call) and not _is_log(node.value)):
        yield cst.Pass()


def negate_condition(node: cst.If) -> Iterable[cst.CSTNode]:
    """The opposite of a condition; that of a comparison or a negation is among mutmut's own faults."""
    if isinstance(node.test, cst.Comparison | cst.UnaryOperation | cst.BooleanOperation):
        return
    test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    operator = cst.Not(whitespace_after=cst.SimpleWhitespace(" "))
    space = cst.SimpleWhitespace(" ")
    yield node.with_changes(test=cst.UnaryOperation(operator, test), whitespace_before_test=space)


class Visitor(file_mutation.MutationVisitor):
    """Leaves out what people read: the texts of errors and logs. That an error is raised at all is not left out."""

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FormattedString) and _is_text(node):
            return False
        if isinstance(node, cst.Call) and (_is_error(node) or _is_log(node)):
            return False
        return super().on_visit(node) and not isinstance(node, cst.Raise)


def _is_text(node: cst.CSTNode) -> bool:
    """Names of this project have no spaces."""
    if isinstance(node, cst.FormattedString):
        return any(isinstance(part, cst.FormattedStringText) and " " in part.value for part in node.parts)
    return isinstance(node, cst.SimpleString) and " " in node.value


def _is_error(call: cst.Call) -> bool:
    return isinstance(call.func, cst.Name) and call.func.value.endswith("Error")


def _is_log(call: cst.Call) -> bool:
    return isinstance(call.func, cst.Attribute) and call.func.attr.value in _LOGS


def main() -> None:
    """Run mutmut."""
    file_mutation.MutationVisitor = Visitor  # type: ignore[misc]
    operators = [(kind, change_name if make is operator_string else make) for kind, make in mutation_operators]
    operators += [(cst.Expr, remove_statement), (cst.Raise, remove_statement), (cst.If, negate_condition)]
    mutation_operators[:] = operators  # type: ignore[index]
    cli()


if __name__ == "__main__":
    main()
