"""Errors a user can act on: every message names the file, the field, what was found, what is allowed and the fix."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the input.

    Attributes
    ----------
    file : str
        Path relative to the dataset or study, never absolute.
    field : str
        Column, key, axis or property that is wrong.
    found : str
        The value found.
    allowed : str
        The values allowed.
    fix : str
        What the user should do.
    level : {'error', 'warning'}
        A warning is reported and does not stop the study.
    """

    file: str
    field: str
    found: str
    allowed: str
    fix: str
    level: str = "error"

    def __str__(self):
        return f"{self.file}: {self.field} is {self.found}; allowed: {self.allowed}. Fix: {self.fix}"


class InputError(ValueError):
    """The user's input is wrong in one place.

    Parameters
    ----------
    file, field, found, allowed, fix
        See `Problem`.
    """

    def __init__(self, file, field, found, allowed, fix):
        self.problem = Problem(str(file), str(field), str(found), str(allowed), str(fix))
        super().__init__(str(self.problem))

    def __reduce__(self):
        p = self.problem
        return (type(self), (p.file, p.field, p.found, p.allowed, p.fix))


class InputErrors(ValueError):
    """Several problems, reported together.

    Parameters
    ----------
    problems : list of Problem
    """

    def __init__(self, problems):
        self.problems = list(problems)
        lines = "\n".join(f"  {i}. {p}" for i, p in enumerate(self.problems, 1))
        count = len(self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} found in the input:\n{lines}")

    def __reduce__(self):
        return (type(self), (self.problems,))


@dataclass
class ProblemList:
    """Collects problems so that a user sees all of them at once.

    Examples
    --------
    >>> problems = ProblemList()
    >>> problems.add("participants.tsv", "age", "-3", ">= 0", "correct the age")
    >>> len(problems.errors)
    1
    """

    problems: list = field(default_factory=list)

    def add(self, file, field, found, allowed, fix, level="error"):
        """Append one problem (see `Problem`)."""
        self.problems.append(Problem(str(file), str(field), str(found), str(allowed), str(fix), level))

    def extend(self, other):
        """Append the problems of another list or iterable."""
        self.problems.extend(getattr(other, "problems", other))

    @property
    def errors(self):
        """Problems that stop the study."""
        return [p for p in self.problems if p.level == "error"]

    @property
    def warnings(self):
        """Problems that are only reported."""
        return [p for p in self.problems if p.level != "error"]

    def raise_errors(self):
        """Raise one `InputErrors` that lists every error, if there is any."""
        if self.errors:
            raise InputErrors(self.errors)
