"""What a check says, and that nothing wrong passes. (test_checking_in_jupyter.py: the same in a notebook.)"""

import contextlib
import io
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from lsml_utils import checking
from lsml_utils.checking import (
    CheckFailed,
    Unanswered,
    check,
    expect_close,
    expect_dtype,
    expect_finite,
    expect_raises,
    expect_shape,
    expect_unchanged,
    limits,
    running,
)

X = np.arange(6.0).reshape(3, 2)


@pytest.fixture(autouse=True)
def fresh():
    """Every test begins without a module and leaves none."""
    yield
    running._module = running._total = None
    running._passed.clear()


def scale(data, factor=2.0):
    return data * factor


def stub(data):
    # YOUR CODE HERE
    raise NotImplementedError("stub: write your answer here")


def card_of(block) -> str:
    """The text of the card that a failing block shows."""
    with pytest.raises(CheckFailed) as caught, check("scale"):
        block()
    assert isinstance(caught.value, AssertionError) and "\n" not in str(caught.value)
    return repr(caught.value.card)


class TestClose:
    @pytest.mark.parametrize(
        ("got", "expected"),
        [
            (1.0, 1),
            (np.float32(0.5), 0.5),
            ([1.0, 2.0], np.array([1.0, 2.0])),
            (torch.tensor([1.0, 2.0]), [1, 2]),
            (torch.ones(2, requires_grad=True), np.ones(2)),
            (torch.ones(2, dtype=torch.bfloat16), [1.0, 1.0]),
            (sparse.eye_array(3, format="csr"), np.eye(3)),
            (torch.eye(3).to_sparse(), np.eye(3)),
            (torch.tensor([1 + 2j]).conj(), [1 - 2j]),
            (["a", np.str_("b")], ("a", "b")),
            ({1, 2}, {2, 1}),
            ({"w": X, "b": [1.0]}, {"b": np.ones(1), "w": X.tolist()}),
            ([X, 1.0], (X, 1.0)),
            ([[1.0], [1.0, 2.0]], [[1.0], [1.0, 2.0]]),
            (np.inf, np.inf),
            (1 + 2j, np.array(1 + 2j)),
            (True, True),
            ("abc", "abc"),
            (None, None),
            (np.zeros((0, 3)), np.zeros((0, 3))),
            (2**60 + 1, 2**60 + 1),
        ],
    )
    def test_what_agrees_passes(self, got, expected):
        expect_close(got, expected)

    @pytest.mark.parametrize(
        ("got", "expected"),
        [
            (np.nan, np.nan),
            (np.nan, 1.0),
            ([1.0, np.nan], [1.0, np.nan]),
            (np.inf, 1.0),
            (np.inf, -np.inf),
            (1.0, np.inf),
            (1.0, np.nan),
            (np.ones((3, 1)), np.ones(3)),
            (np.ones(1), 1.0),
            (1.0, np.ones(3)),
            (None, 0.0),
            ("1.0", 1.0),
            ([1.0, "a"], [1.0, 2.0]),
            ([X], [X, X]),
            ({"w": X}, {"w": X, "b": 1.0}),
            ({"w": X, "b": 1.0}, {"w": X}),
            (X, {"w": X}),
            (1.0, "abc"),
            (X, "abc"),
            (["a"], ["b"]),
            ("abd", "abc"),
            (1.0, None),
            (lambda: 1.0, 1.0),
            (2.0 + 1e-5, 2.0),
        ],
    )
    def test_what_does_not_agree_fails(self, got, expected):
        with pytest.raises(CheckFailed):
            expect_close(got, expected)

    @settings(max_examples=30, deadline=None)
    @given(
        hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=4), elements=st.floats(-1e6, 1e6)),
        st.floats(1e-3, 1e3),
        st.data(),
    )
    def test_one_entry_beyond_the_tolerance_is_found_and_named(self, expected, excess, data):
        """Whatever the array, wherever the entry."""
        place = tuple(data.draw(st.integers(0, side - 1)) for side in expected.shape)
        got = expected.copy()
        expect_close(got, expected, rtol=1e-6, atol=1e-8)
        got[place] += (1e-6 * abs(expected[place]) + 1e-8) * (1.5 + excess)
        with pytest.raises(CheckFailed) as caught:
            expect_close(got, expected, rtol=1e-6, atol=1e-8)
        shown = ", ".join(str(i) for i in place)
        assert f"at [{shown}]" in repr(caught.value.card)

    def test_large_integers_are_compared_exactly_when_asked(self):
        with pytest.raises(CheckFailed):
            expect_close(2**60 + 1, 2**60, rtol=0, atol=0)

    def test_the_tolerance_is_relative_to_what_is_expected(self):
        expect_close(1000.1, 1000.0, rtol=1.1e-4, atol=0)
        with pytest.raises(CheckFailed):
            expect_close(1000.2, 1000.0, rtol=1.1e-4, atol=0)

    def test_the_largest_difference_is_named_with_its_place(self):
        card = card_of(lambda: expect_close(scale(X) + 5.0 * (X == 3.0), 2 * X))
        assert "5 (returned 11, expected 6) at [1, 1]; 1 of 6 entries differ" in card

    def test_nan_is_named_before_any_difference(self):
        assert "nan where 1 is expected at [1]" in card_of(lambda: expect_close([9.0, np.nan], [1.0, 1.0]))

    def test_the_element_of_a_tuple_is_named(self):
        assert "in element [1]['b']:" in card_of(lambda: expect_close((X, {"b": 1.0}), (X, {"b": 2.0})))

    @pytest.mark.parametrize(
        ("got", "pattern"),
        [
            (-X, "wrong sign"),
            (X / 2, "1/2 of what is expected"),
            (X * 3, "3 times what is expected"),
            (X * -3, "−3 times"),
            (X + 0.5, "off by the same amount, 0.5"),
            (0 * X, "Every entry is zero"),
            (X[::-1], "reversed order"),
            (X.T, "transpose"),
            (X.ravel(), "another shape"),
            (None, "is there a `return`?"),
            (np.full((3, 2), np.inf), "look for 0/0"),
        ],
    )
    def test_a_plain_pattern_is_told(self, got, pattern):
        assert pattern in card_of(lambda: expect_close(got, X))

    @pytest.mark.parametrize("factor", [1.044, 7.3, 1 / 1.7, 5.0])
    def test_a_multiple_that_no_mistake_brings_is_no_cause(self, factor):
        assert "Likely cause" not in card_of(lambda: expect_close(X * factor, X))
        assert "Likely cause" not in card_of(lambda: expect_close(2.0 * factor, 2.0))

    def test_a_multiple_by_a_length_of_the_arguments_is_told(self):
        data = np.arange(1.0, 6.0)
        m = len(data)
        assert "1/5 of" in card_of(lambda: expect_close(scale(data, 2.0)[0] / m, 2.0))
        assert "5 times" in card_of(lambda: expect_close(scale(data, 2.0)[0] * m, 2.0))
        assert "1.25 times" in card_of(lambda: expect_close(scale(data, 2.0)[0] * m / (m - 1), 2.0))
        assert "Likely cause" not in card_of(lambda: expect_close(scale(3.0, 2.0) / 5, 6.0))

    def test_a_tiny_difference_has_no_pattern(self):
        """A number is its own reverse: what is off by a few roundings is not in reversed order."""
        assert "Likely cause" not in card_of(lambda: expect_close(1 - 7e-10, 1.0, rtol=1e-14, atol=0))
        assert "Likely cause" not in card_of(lambda: expect_close(X * (1 + 1e-12), X, rtol=1e-14, atol=0))

    def test_lost_decimals_are_told(self):
        assert "The decimals are lost" in card_of(lambda: expect_close(np.array([1, 2]), [1.5, 2.5]))

    def test_a_square_by_broadcasting_is_told(self):
        assert "broadcasting" in card_of(lambda: expect_close(np.ones((3, 3)), np.ones(3)))

    def test_a_mistake_is_named_where_it_fits(self):
        mistakes = {"You forgot the factor.": X, "You squared it.": X**2}
        assert "Likely cause  You squared it." in card_of(lambda: expect_close(X**2, 2 * X, mistakes=mistakes))
        card = card_of(lambda: expect_close(X + 100.3 * X**3, 2 * X, mistakes=mistakes, hint="Look again."))
        assert "Likely cause" not in card and "Hint        Look again." in card


class TestOtherExpectations:
    def test_shape(self):
        expect_shape(torch.ones(2, 3), (2, None))
        expect_shape([[1, 2]], (1, 2))
        expect_shape(3.0, ())
        for got, shape in [(X, (2, 3)), (X, (3,)), (None, ()), (X, (None, None, None))]:
            with pytest.raises(CheckFailed):
                expect_shape(got, shape)
        with pytest.raises(CheckFailed, match=r"Shape \(2, 3\); expected \(any, 2\)"):
            expect_shape(np.ones((2, 3)), (None, 2))

    @pytest.mark.parametrize(
        ("expectation", "says"),
        [
            (lambda: expect_dtype([1.0, 2.0], np.float64), "A list came where an array is due."),
            (lambda: expect_dtype((1.0, 2.0), np.float64), "A tuple came where an array is due."),
            (lambda: expect_shape([1.0, 2.0], (3,)), "Length 2; expected 3."),
            (lambda: expect_close([1.0, 2.0], np.ones(3)), "Length 2, expected 3."),
            (lambda: expect_close([[1.0], [2.0]], np.ones(3)), "Shape (2, 1), expected (3,)."),
            (lambda: expect_close(np.ones(2), [1.0, 1.0, 1.0]), "Shape (2,), expected (3,)."),
        ],
    )
    def test_a_list_for_an_array_is_told_in_a_lists_terms(self, expectation, says):
        with pytest.raises(CheckFailed) as caught:
            expectation()
        assert str(caught.value).startswith(says)

    def test_a_list_that_the_check_asks_for_what_an_array_has_is_told(self):
        rows = scale([[1.0, 2.0]], 2)
        came = "A list came where an array is due"
        with pytest.raises(CheckFailed, match=came), check("scale"):
            rows.sum()
        with pytest.raises(CheckFailed, match=came), check("scale"):
            assert rows.shape == (2, 2)
        with pytest.raises(CheckFailed, match=came), check("scale"):
            expect_close(rows[0, 1], 2.0)
        # In the student's own function it is another error: the list may be a list on purpose.
        with pytest.raises(CheckFailed, match="has no attribute") as caught, check("scale"):
            (lambda: rows.sum())()
        assert "came where" not in repr(caught.value.card)

    def test_dtype(self):
        expect_dtype(X, np.float64)
        expect_dtype(X, float)
        expect_dtype(X, "float64")
        expect_dtype(X.astype(np.float32), np.floating)
        expect_dtype(torch.ones(2), torch.float32)
        expect_dtype(torch.ones(2), np.float32)
        for got, dtype in [(X, np.float32), (X, np.integer), (torch.ones(2), torch.float64), ([1.0], float)]:
            with pytest.raises(CheckFailed):
                expect_dtype(got, dtype)

    def test_finite(self):
        expect_finite(X)
        expect_finite({"a": [torch.ones(2), 1.0]})
        for got in (np.nan, [1.0, np.inf], {"a": torch.tensor([np.nan])}, None, "text"):
            with pytest.raises(CheckFailed):
                expect_finite(got)
        with pytest.raises(CheckFailed, match=r"nan at \[1, 0\]; 1 of 6"):
            expect_finite(np.where(X == 2, np.nan, X))

    @pytest.mark.parametrize(
        "value",
        [
            X,
            torch.ones(3),
            [1.0, np.ones(2)],
            {"w": np.ones(2)},
            np.array([np.nan]),
            sparse.eye_array(2),
            np.array(["a", "b"]),
        ],
    )
    def test_unchanged_passes_what_stays(self, value):
        with expect_unchanged(value=value):
            pass

    def test_unchanged_sees_every_change(self):
        def shrink(a):
            a.pop()

        def write(a):
            a["w"][0] = 5

        for value, change in [
            (X.copy(), lambda a: a.__setitem__((0, 0), 1e-300)),
            (np.zeros(2), lambda a: a.__setitem__(0, -0.0)),
            (torch.ones(2), lambda a: a.mul_(2)),
            (np.array(["a", "b"]), lambda a: a.__setitem__(0, "c")),
            ([1, 2], shrink),
            ({"w": np.ones(2)}, write),
        ]:
            with pytest.raises(CheckFailed, match="changed its input `value`"), expect_unchanged(value=value):
                change(value)

    def test_unchanged_does_not_hide_an_error(self):
        with pytest.raises(ZeroDivisionError), expect_unchanged(X=X):
            1 / 0  # noqa: B018

    def test_raises(self):
        with expect_raises(ValueError, match="rows") as caught:
            raise ValueError("no rows")
        assert str(caught.error) == "no rows"
        with expect_raises((KeyError, ValueError)):
            raise KeyError
        with pytest.raises(CheckFailed, match="Nothing was raised; expected ValueError"), expect_raises(ValueError):
            pass
        with pytest.raises(CheckFailed, match="does not contain 'rows'"), expect_raises(ValueError, match="rows"):
            raise ValueError("columns")
        with pytest.raises(KeyError), expect_raises(ValueError):
            raise KeyError

    @pytest.mark.parametrize("kind", [Exception, RuntimeError, NotImplementedError])
    def test_a_stub_never_counts_as_the_error_that_is_expected(self, kind):
        with pytest.raises(Unanswered), check("stub"), expect_raises(kind):
            stub(X)

    def test_a_failed_expectation_never_counts_as_the_error_that_is_expected(self):
        with pytest.raises(CheckFailed, match="was returned"), check("scale"), expect_raises(AssertionError):
            expect_close(1.0, 2.0)


class TestCheck:
    def test_success_is_one_line_with_progress(self, capsys):
        checking.start("01", total=3)
        for name in ("a", "b", "a"):
            with check(name):
                pass
        assert capsys.readouterr().out.splitlines() == [
            "✓ a passes its check (1 of 3)",
            "✓ b passes its check (2 of 3)",
            "✓ a passes its check (2 of 3)",
        ]

    def test_what_fails_again_no_longer_counts(self, capsys):
        checking.start("01", total=3)
        with check("a"):
            pass
        with pytest.raises(CheckFailed, match=r"^✗ a does not pass its check yet \(0 of 3 done\): no"), check("a"):
            raise AssertionError("no")
        assert running.progress() == "0 of 3"

    def test_starting_the_same_module_again_keeps_the_count(self):
        checking.start("01", total=3)
        with check("a"):
            pass
        checking.start("01", total=3)
        assert running.progress() == "1 of 3"
        checking.start("02", total=5)
        assert running.progress() == "0 of 5"

    def test_the_call_is_quoted_as_it_stands(self):
        card = card_of(lambda: expect_close(scale(X[:, 0], factor=3.0), np.ones(3)))
        assert "Called      scale(X[:, 0], factor=3.0)\n" in card

    def test_a_call_over_several_lines_is_quoted(self):
        def block():
            expect_close(
                scale(
                    X,  # the data
                    factor=3.0,
                ),
                X,
            )

        assert "Called        scale(X, factor=3.0)\n" in card_of(block)

    def test_a_name_is_followed_to_the_call_that_bound_it_last(self):
        def block():
            result = scale(X)
            result = scale(X, 4.0)
            expect_shape(result, (1, 1))

        assert "result = scale(X, 4.0)" in card_of(block)

    def test_a_name_is_not_followed_to_a_call_that_something_else_came_after(self):
        def block():
            result = scale(X)
            result, other = X, 1
            expect_shape(result, (other, 1))

        assert "Called     result\n" in card_of(block)

    def test_without_source_a_check_still_explains(self):
        """As in a notebook whose cell cannot be found any more."""
        code = "with check('scale'):\n    expect_close(scale(X), X)\n"
        scope = {"check": check, "expect_close": expect_close, "scale": scale, "X": X}
        with pytest.raises(CheckFailed) as caught:
            exec(compile(code, "<nowhere>", "exec"), scope)
        card = repr(caught.value.card)
        assert "Called" not in card and "2 times what is expected" in card

    def test_a_plain_assert_shows_its_condition_and_values(self):
        def fails(low, high):
            with check("scale"):
                assert low > high.sum(), "It should be larger."

        with pytest.raises(CheckFailed) as caught:
            fails(1.0, X)
        card = repr(caught.value.card)
        assert "low > high.sum()" in card and "low       1.0" in card and "Hint      It should be larger." in card

    def test_a_bare_assert_still_has_a_sentence(self):
        with pytest.raises(CheckFailed, match="does not pass its check"), check("scale"):
            assert X.sum() == 0

    def test_the_students_error_comes_with_the_students_lines(self):
        def solve(A):
            half = A / 2
            return np.linalg.inv(half)  # raises inside numpy

        card = card_of(lambda: expect_close(solve(X), X))
        assert card.startswith("✗ scale raised LinAlgError")
        assert "Message     Last 2 dimensions of the array must be square" in card
        assert "→" in card and "return np.linalg.inv(half)  # raises inside numpy" in card
        assert "numpy/linalg" not in card and "lsml_utils/checking" not in card

    def test_the_students_own_assert_is_the_students_error(self):
        def careful(A):
            assert A.ndim == 1, "one axis only"

        card = card_of(lambda: expect_close(careful(X), X))
        assert "raised AssertionError" in card and 'assert A.ndim == 1, "one axis only"' in card

    def test_endless_recursion_is_shown_in_a_few_lines(self):
        def forever(n):
            return forever(n + 1)

        card = card_of(lambda: forever(0))
        assert "more calls" in card and len(card.splitlines()) < 30

    def test_the_error_itself_is_the_cause(self):
        with pytest.raises(CheckFailed) as caught, check("scale"):
            {}["missing"]
        assert isinstance(caught.value.__cause__, KeyError)

    def test_a_stub_is_unanswered_in_one_line(self, capsys):
        checking.start("01", total=3)
        with pytest.raises(Unanswered) as caught, check("stub"):
            expect_close(stub(X), X)
        line = "stub has no answer yet: write it in the cell above, run that cell, then this one (0 of 3 done)"
        assert str(caught.value) == line and caught.value._render_traceback_() == [line]
        assert capsys.readouterr().out == "" and caught.value.card is None

    def test_a_stub_that_another_exercise_needs_is_named(self):
        with pytest.raises(Unanswered, match=r"^scale needs stub, which has no answer yet"), check("scale"):
            stub(X)

    def test_a_stub_beside_the_answer_is_named_with_the_exercise_s_own_link(self):
        cell = """
def share(x): return x
def recover(x):
    raise NotImplementedError("recover: write your answer here")
class Server:
    def __init__(self): pass
    def pull(self):
        raise NotImplementedError("Server.pull: write your answer here")
class Client:
    def __init__(self):
        raise NotImplementedError("Client.__init__: write your answer here")
"""
        exec(compile(cell, "a cell", "exec"), scope := {})
        share, recover, Server, Client = (scope[name] for name in ("share", "recover", "Server", "Client"))
        for name, call, missing in (
            ("share", lambda: recover(share(1)), "recover"),
            ("Server", lambda: Server().pull(), "Server.pull"),
            ("Client", lambda: Client(), "Client"),
        ):
            with pytest.raises(Unanswered, match=f"^{missing} has no answer yet: write it") as caught, check(name):
                call()
            assert caught.value.exercise == name

    def test_not_implemented_in_a_library_is_an_error_not_a_stub(self):
        class Broken:
            def __array__(self, *args, **kwargs):
                return torch.ones(2).sparse_mask(torch.ones(2))  # raised inside torch

        with pytest.raises(CheckFailed) as caught, check("scale"):
            np.asarray(Broken())
        assert not isinstance(caught.value, Unanswered)

    def test_a_name_not_yet_defined_is_told(self):
        with pytest.raises(Unanswered, match=r"^softmax is not defined: run the cell above"), check("softmax"):
            softmax(X)  # noqa: F821

    def test_an_interruption_goes_through(self):
        with pytest.raises(KeyboardInterrupt), check("scale"):
            raise KeyboardInterrupt

    def test_only_errors_never_a_warning_on_stderr(self, capsys):
        card_of(lambda: expect_close(1.0, 2.0))
        assert capsys.readouterr().err == ""

    def test_forbidden_names_fail_a_right_answer(self):
        def helper(x):
            return np.linalg.norm(x)

        assert checking.rules.broken(helper, ["numpy.linalg"]) == ["numpy.linalg"]
        assert checking.rules.broken(helper, ["np.linalg.norm", "numpy.fft"]) == ["np.linalg.norm"]
        assert checking.rules.broken(helper, [".norm", ".svd"]) == [".norm"]
        with pytest.raises(CheckFailed, match=r"may not use numpy\.linalg"), check("helper", forbids=["numpy.linalg"]):
            expect_close(helper(np.ones(4)), 2.0)
        with check("helper", forbids=["numpy.linalg.svd"]):
            expect_close(helper(np.ones(4)), 2.0)


class TestLimits:
    @pytest.mark.parametrize(
        "body",
        ["    while True: pass", "    while True:\n        try: time.sleep(0.01)\n        except Exception: pass"],
    )
    def test_a_loop_ends_at_the_deadline_with_a_card(self, tmp_path, body):
        path = tmp_path / "cell.py"
        path.write_text(f"import time\ndef endless():\n{body}\n")
        scope = {}
        exec(compile(path.read_text(), str(path), "exec"), scope)
        started = time.perf_counter()
        says = "endless took too long: it was stopped after 0.5 s"
        with pytest.raises(CheckFailed, match=says) as caught, check("endless", seconds=0.5):
            scope["endless"]()
        assert time.perf_counter() - started < 5
        card = repr(caught.value.card)
        assert "while True" in card and "A loop that does not end" in card
        with check("scale"):  # and the next one runs as ever
            expect_close(scale(1.0), 2.0)

    def test_a_bare_except_only_puts_it_off(self, monkeypatch, capsys):
        monkeypatch.setattr(limits, "PATIENCE", 0.2)
        caught = []

        def stubborn():
            while len(caught) < 2:
                try:
                    while True:
                        pass
                except BaseException as error:
                    caught.append(error)
            raise caught[-1]

        with pytest.raises(CheckFailed, match="took too long"), check("stubborn", seconds=0.2):
            stubborn()
        assert len(caught) == 2 and "choose Kernel > Restart" in capsys.readouterr().out

    def test_a_slow_check_within_its_time_passes_and_nothing_comes_later(self, capsys):
        before = threading.active_count()  # of what ran here earlier, too
        with check("scale", seconds=0.5):
            time.sleep(0.3)
        time.sleep(0.5)
        for _ in range(50):  # that end as their time does
            with contextlib.suppress(CheckFailed), check("scale", seconds=0.002):
                time.sleep(0.0019)
        time.sleep(0.1)
        assert threading.active_count() < before + 15

    def test_an_interruption_by_the_student_is_none_of_ours(self):
        with pytest.raises(KeyboardInterrupt), check("scale"):
            raise KeyboardInterrupt

    def test_a_flood_is_cut_with_one_line(self, capsys):
        with check("scale"):
            for _ in range(100_000):
                print("I am here")
        out = capsys.readouterr().out
        assert len(out) < limits.MOST_PRINTED + 500
        assert out.count("the rest is left out") == 1 and "✓ scale passes its check" in out

    def test_a_little_output_stays_as_it_is(self, capsys):
        with check("scale"):
            print("one", end=" ")
            print("two", file=sys.stderr)
        assert capsys.readouterr().out.startswith("one ✓ scale")


class TestCard:
    def test_html_is_escaped(self):
        class Evil:
            def __repr__(self):
                return "<script>alert(1)</script>"

        with pytest.raises(CheckFailed) as caught, check("<b>x</b>"):
            expect_close(Evil(), 1.0, hint="<img src=x onerror=alert(1)>")
        html = caught.value.card._repr_html_()
        assert "<script" not in html and "<img" not in html and "<b>" not in html
        assert "&lt;script&gt;" in html

    def test_a_failing_repr_does_no_harm(self):
        class Broken:
            shape, dtype = (), None

            def __array__(self, *args, **kwargs):
                return np.ones(())

            @property
            def __class__(self):
                raise RuntimeError("no")

        assert "cannot be shown (RuntimeError in its repr)" in card_of(lambda: expect_close([Broken()], "a"))

    def test_a_huge_value_stays_short(self):
        card = card_of(lambda: expect_close(np.arange(1e6), np.zeros(10**6)))
        assert len(card) < 1500
        assert len(card_of(lambda: expect_close("x" * 10**6, 1.0))) < 1500
        assert len(card_of(lambda: expect_close({i: [i] * 1000 for i in range(1000)}, 1.0))) < 3000

    def test_a_terminal_without_unicode_still_gets_its_line(self, monkeypatch):
        out = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", newline="\n")
        monkeypatch.setattr(sys, "stdout", out)
        with check("a"):
            pass
        out.flush()
        assert out.buffer.getvalue() == b"ok: a passes its check\n"

    def test_outside_of_a_check_the_error_shows_its_whole_card(self):
        with pytest.raises(CheckFailed) as caught:
            expect_close(scale(X), X)
        shown = caught.value._render_traceback_()
        assert any("Called" in line for line in shown) and any("2 times" in line for line in shown)


def test_a_plain_script_shows_the_card_and_one_line_and_fails(tmp_path):
    script = tmp_path / "homework.py"
    script.write_text(
        textwrap.dedent(
            """
            from lsml_utils.checking import check, expect_close
            def double(x):
                return x
            with check("double"):
                expect_close(double(3.0), 6.0)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8", str(script)], capture_output=True, text=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 1
    assert "Called        double(3.0)" in done.stdout
    assert "It is 1/2 of what is expected." in done.stdout
    assert done.stderr == "✗ double does not pass its check yet\n"


def test_without_column_information_a_check_still_explains(tmp_path):
    script = tmp_path / "homework.py"
    script.write_text(
        "from lsml_utils.checking import check, expect_close\nwith check('a'):\n    expect_close(1.0, 6.0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-X", "no_debug_ranges", str(script)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 1 and "5 (returned 1, expected 6)" in done.stdout and "Traceback" not in done.stderr
