"""The exercises of the lessons, which check themselves: `from vit.course import check`.

- `exercise`: what an exercise is, and how an answer to it is judged
- `compare`: whether two results agree, and where they first differ
- `inputs`: small models and tensors to try answers on
- `lesson_00`, `lesson_01`, `lesson_02`, `lesson_03`, `lesson_04`, `lesson_05`, `lesson_06`, `lesson_07`,
  `lesson_08`, `lesson_09`, `lesson_10`, `lesson_11`, `lesson_12`: the exercises, each with the usual mistakes

The questions, hints and solutions stand in the lessons. Here is what a page cannot do: run an answer.
"""

from vit.course.exercise import Exercise, Verdict, exercises

__all__ = ["Exercise", "Verdict", "check", "exercises"]


def check(lesson: int, number: int, answer: object = ..., seed: int = 0) -> bool | None:
    """Say in one line whether `answer` is right, and if not, what is wrong with it.

    Args:
        answer: the function that the exercise asks for (the function, not its result), or the value.
        seed: of the random inputs. A teacher may choose another than the one that pupils see.

    Returns:
        Whether it is right; None where the exercise is open and has a rubric instead.
    """
    try:
        known = exercises(lesson)
    except ValueError as error:
        print(error)
        return False
    if number not in known:
        print(f"Lesson {lesson} has no exercise {number}: it has {', '.join(map(str, known))}.")
        return False
    verdict = known[number].judge(answer, seed)
    print(verdict.text)
    return verdict.right
