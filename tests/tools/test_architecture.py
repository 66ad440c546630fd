"""The picture of the floors shows the code as it is."""

from tools import architecture


def test_the_picture_is_that_of_the_code() -> None:
    assert architecture.PICTURE.read_text() == architecture.draw(), "make architecture"


def test_every_room_says_what_it_is_for() -> None:
    rooms = [room for floors in architecture.contracts() for floor in floors for room in floor]
    assert [room for room in rooms if not architecture.purpose(room)] == []
