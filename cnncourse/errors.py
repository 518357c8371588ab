"""The one error that a user of the course should see."""


class CourseError(Exception):
    """Something that a user can mend: says what went wrong and what to do.

    Parameters
    ----------
    what : str
        What went wrong, and where (name the file, the parameter, the notebook).
    remedy : str, optional
        What to do about it, as a full sentence.
    """

    def __init__(self, what: str, remedy: str = ""):
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}\n{remedy}" if remedy else what)
