"""For mkdocs: links out of docs/ lead to the repository, of which the site has nothing; their text remains."""

import re


def on_page_markdown(markdown: str, **_: object) -> str:
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", markdown)
