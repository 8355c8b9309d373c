"""The layout `image`, `problem`, `solution` that the paper's authors gave their copies of several data sets."""

from data_prep.dataset import Example, SourceRow
from data_prep.errors import Skip
from data_prep.rows import MARK


def is_copy(row: SourceRow) -> bool:
    return "problem" in row and "solution" in row


def from_copy(row: SourceRow, reply: str = "letter") -> Example:
    """The problem as it stands; the answer is what the solution has in its tags, or all of it without tags."""
    images = [image for image in [row.get("image"), *(row.get("images") or [])] if image is not None]
    return Example(
        text=with_marks(row["problem"], len(images)), images=images, answer=tagged(row["solution"]), reply=reply
    )


def tagged(solution: str) -> str:
    """Content of the last `<answer>` block, or the whole text without one."""
    if not isinstance(solution, str):
        raise Skip("solution is no text", type(solution).__name__)
    return solution.rpartition("<answer>")[2].partition("</answer>")[0].strip()


def with_marks(text: str, images: int) -> str:
    """The text with a mark for each image: its own if it has as many, else all in front."""
    return text if text.count(MARK) == images else MARK * images + without_marks(text)


def without_marks(text: str) -> str:
    return text.replace(MARK, "").strip()
