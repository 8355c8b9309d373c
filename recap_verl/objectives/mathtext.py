r"""What is mathematics and what is prose, and how plain notation reads in LaTeX.

math-verify reads letters as variables (`cat` is c·a·t and equals `act`) and picks the last number out of text it
cannot parse (`y^3 + 1` written without `$` is read as 1). Both make wrong answers right, so a text is handed over
whole, as one formula, when it holds no words, and a truth that holds words is never compared symbolically.
"""

import re

_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox)\{([^{}]*)\}")
_LAYOUT = re.compile(r"\\[!;:]|\\(?:left|right|displaystyle)(?![A-Za-z])")
_COMMAND = re.compile(r"\\(?:begin|end)\{[a-z]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{3,}")
_NOTATION_WORDS = re.compile(
    "and|(?:arc)?(?:cos|sin|tan)h?|cot|csc|sec|deg|det|exp|log|lim|max|min|mod|sqrt|inf|infty|infinity|pct|percent|"
    "alpha|beta|gamma|delta|lambda|omega|sigma|theta",
    re.IGNORECASE,
)
_NOTATION = re.compile(r"[0-9+*/^=<>\\√π∞-]")
_QUANTITY = re.compile(r"([+-]?[0-9][0-9.,/]{0,30}) ?([^\W\d_]{3,})")
_PERCENT = re.compile(r" ?(?:\\?%|percent|pct)$", re.IGNORECASE)

_SPELLED_COMMAND = "alpha|beta|gamma|delta|lambda|omega|sigma|theta|pi|infty|sin|cos|tan|log|ln"
_TO_LATEX = [
    (re.compile(r"\*\*"), "^"),
    (re.compile("°"), r"^{\\circ}"),
    (re.compile("<=|≤"), r"\\le "),
    (re.compile(">=|≥"), r"\\ge "),
    (re.compile("∞"), r"\\infty "),
    (re.compile(r"√ ?([0-9A-Za-z]+)"), r"\\sqrt{\1}"),
    (re.compile("√"), "sqrt"),
    # A mixed number, digit groups and a decimal exponent, each of which LaTeX would read as a product.
    (re.compile(r"(?<![0-9./])([0-9]{1,15}) ([0-9]{1,15})/([0-9]{1,15})(?![0-9])"), r"\1\\frac{\2}{\3}"),
    (re.compile(r"(?<=[0-9]) (?=[0-9]{3}(?![0-9]))"), ""),
    (re.compile(r"(?<=[0-9])[eE]([+-]?[0-9]{1,3})(?![0-9A-Za-z])"), r"\\times 10^{\1}"),
    (re.compile(rf"(?<![\\A-Za-z])({_SPELLED_COMMAND})(?![A-Za-z])"), r"\\\1"),
]


def last_boxed(text: str) -> str | None:
    r"""Content of the last `\boxed{…}`, None if there is none or its braces do not balance."""
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    start += len(r"\boxed{")
    depth = 1
    for brace in re.finditer("[{}]", text[start:]):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return text[start : start + brace.start()]
    return None


def tidied(text: str) -> str:
    r"""The text without what never carries meaning: math delimiters around it, `\text{}`, layout, a final full stop."""
    text = _LAYOUT.sub("", _TEXT_COMMAND.sub(r"\1", text)).replace(r"\,", " ")
    text = " ".join(text.split()).removesuffix(".").rstrip()
    for opening, closing in _DELIMITERS:
        if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
            return text[len(opening) : -len(closing)].strip()
    return text


def has_words(text: str) -> bool:
    """Whether a run of three or more letters is left that is neither a LaTeX command nor a name like `sin` or `and`."""
    return any(not _NOTATION_WORDS.fullmatch(word) for word in _WORD.findall(_COMMAND.sub(" ", text)))


def has_notation(text: str) -> bool:
    """Whether there is a digit, an operator or a LaTeX command; letters alone are never compared as a formula."""
    return _NOTATION.search(text) is not None


def is_mathematical(text: str) -> bool:
    """Whether a tidied text can be compared as a formula: no words, but some notation."""
    return not has_words(text) and has_notation(text)


def quantity(text: str) -> tuple[str, str] | None:
    """(number, unit) of a tidied text such as `12 apples`, else None."""
    match = _QUANTITY.fullmatch(text)
    return (match[1], match[2]) if match else None


def as_latex(text: str) -> str:
    """A tidied formula, plain or LaTeX, between dollar signs."""
    text = text.replace(r"\$", "").replace("$", "")
    # math-verify reads a percent sign behind the dollar signs, not between them.
    formula = _PERCENT.sub("", text)
    percent = "%" if formula != text else ""
    for pattern, latex in _TO_LATEX:
        formula = pattern.sub(latex, formula)
    return f"${formula}${percent}"
