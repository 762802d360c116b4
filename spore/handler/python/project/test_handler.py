import unittest

from handler import handle


class HandlerTest(unittest.TestCase):
    def test_greets_by_name(self):
        self.assertEqual(handle('{"name": "moon"}'), {"greeting": "Hello, moon!"})

    def test_greets_the_world(self):
        self.assertEqual(handle("{}"), {"greeting": "Hello, world!"})


if __name__ == "__main__":
    unittest.main()
