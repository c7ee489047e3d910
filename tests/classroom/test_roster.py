"""A roster enters the gradebook whole, or not at all and with the line that is wrong."""

import pytest

from autograder.classroom import roster
from autograder.errors import UserError


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", "", "lists nobody"),
        ("name,mail\nada,x@y\n", ":1", "the first line must name the columns"),
        ("id\nada\n\nada\n", ":4", "'ada' is already on line 2"),
        ("id,email\nada,ada(at)example.org\n", ":2", "not an e-mail address"),
        ("id,email\nada\n", ":2", "1 fields, where the first line names 2 columns"),
        ("id\nada\n../../etc\n", ":3", "cannot be an id"),
        ("id,email\n,ada@example.org\n", ":2", "no id"),
        ("id,username\na,b\n", ":1", "more than one column could be the id"),
        ('id\n"ada\n', "", "not CSV"),
        ("id,first_name\nada," + "a" * 200 + "\n", ":2", "longer than 128"),
    ],
)
def test_bad_row_is_named(tmp_path, text, line, said):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        roster.read(path)
    assert f"list.csv{line}" in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_is_not_text(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b"id\n\xff\xfe\n")
    with pytest.raises(UserError, match="not UTF-8"):
        roster.read(path)
    with pytest.raises(UserError, match="cannot be read"):
        roster.read(tmp_path / "none.csv")


def test_students_enter_and_are_updated(folder, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(
        "\ufeffUsername,Last name,First name,Email address\nada,Adler,Ada,ada@example.org\nben,Brook,Bén,\n"
    )
    assert roster.enter(folder, path) == 2
    path.write_text("id,email\nada,new@example.org\n")
    roster.enter(folder, path)
    with folder.gradebook() as book:
        ada, ben = book.find_student("ada"), book.find_student("ben")
        assert (ada.first_name, ada.last_name, ada.email) == ("Ada", "Adler", "new@example.org")
        assert (ben.first_name, ben.email) == ("Bén", None)


def test_nothing_enters_from_a_bad_roster(folder, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("id\nada\nada\n")
    with pytest.raises(UserError):
        roster.enter(folder, path)
    with folder.gradebook() as book:
        assert book.students == []
