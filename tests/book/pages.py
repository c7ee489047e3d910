"""What tests ask of a folder of HTML."""

from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup


@cache
def parsed(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def broken_links(site: Path) -> list[str]:
    """Every link, picture, script or style that leads to nothing inside the site."""
    found = []
    for page in pages(site):
        for element in parsed(page).select("[href], [src]"):
            target = urlsplit(element.get("href") or element.get("src") or "")
            if target.scheme in ("http", "https", "mailto", "data"):
                continue
            file = (page.parent / unquote(target.path)).resolve() if target.path else page
            inside = file.is_relative_to(site.resolve()) and file.is_file()
            if not inside or (target.fragment and parsed(file).find(id=unquote(target.fragment)) is None):
                found.append(f"{page.relative_to(site)}: {target.geturl()}")
    return found


def loaded_from_elsewhere(site: Path) -> list[str]:
    """What a browser would fetch from another host."""
    elements = "script[src], link[href], img[src], iframe[src], source[src]"
    loaded = [e.get("src") or e.get("href") for page in pages(site) for e in parsed(page).select(elements)]
    return [url for url in loaded if urlsplit(url).netloc]


def without_words(site: Path) -> list[str]:
    """Every figure whose text in its place is missing, is a file's name, or is too short to say anything."""
    figures = [(page, image) for page in pages(site) for image in parsed(page).select("main img")]
    return [
        f"{page.relative_to(site)}: {image.get('alt')!r}"
        for page, image in figures
        if len((image.get("alt") or "").split()) < 4 or ".png" in image["alt"]
    ]
