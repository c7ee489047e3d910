import numpy as np

from autograder.answers import right, wrong


@wrong("mean_square", "forgets to square", fails=["test_mean_of_squares"])
def forgets_the_square(x):
    return float(np.mean(x))


@wrong("mean_square", "takes the sum and not the mean", fails=["test_mean_of_squares"])
def sums(x):
    return float(np.sum(np.square(x)))


@right("mean_square", "a loop")
def with_a_loop(x):
    return sum(float(value) ** 2 for value in x) / len(x)


@wrong("root_mean_square", "does not look whether x is empty", fails=["test_empty"])
def any_length(x):
    return float(np.sqrt(np.sum(np.square(x)) / max(len(x), 1)))


@wrong("total", "changes the chunks that it is given", fails=["test_leaves_its_input_alone"])
def doubles(chunks):
    result = 0.0
    for chunk in chunks:
        result += float(chunk.sum())
        chunk *= 2
    return result
