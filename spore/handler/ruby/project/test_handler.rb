require "minitest/autorun"

require_relative "handler"

class HandlerTest < Minitest::Test
  def test_greets_by_name
    assert_equal({ greeting: "Hello, moon!" }, handle('{"name": "moon"}'))
  end

  def test_greets_the_world
    assert_equal({ greeting: "Hello, world!" }, handle("{}"))
  end
end
