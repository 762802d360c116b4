# Makes a program of a file with handle(request): glue.wat evaluates this when Ruby has booted, and calls
# SporeRunner.step for each message on standard input.
#
# A message is its length as four bytes, little-endian, and so many bytes; answers are told likewise, so that
# any text goes through.  The first message is JSON: {"file": name, "source": text, "path": [directory, ...]}.
# Nothing answers it.  Each further message is given to handle() as text.  It answers with a String, whose
# bytes are the answer, or with anything else that JSON can tell.
#
# An error ends the program with exit code 1, and with its backtrace on standard error, of which the last line
# is "FILE:LINE: ERROR".  There is no need to go on: the next request is given a clean copy of this process.

# What most handlers need; json the runner, too.  Everything else is loaded by who requires it.
require "json"
require "set"
require "stringio"
require "time"

module SporeRunner
  INPUT = STDIN
  OUTPUT = STDOUT
  ERROR = STDERR
  MAIN = TOPLEVEL_BINDING.receiver
  LENGTH_BYTES = 4
  READ_BYTES_MAX = 1 << 20
  FRAMES_MAX = 30 # that are told of an error
  # Without RubyGems, which would take most of the time of a start, these are found as all libraries are.
  BUNDLED_GEMS = "/usr/local/lib/ruby/gems/*/gems/*/lib"

  def self.boot
    Encoding.default_external = Encoding::UTF_8
    $LOAD_PATH.concat(Dir[BUNDLED_GEMS])
    settle
  end

  # Takes one message: the first loads the handler, each other is answered.  Does nothing at the end of input.
  def self.step
    message = read_message
    return unless message

    if @file
      write_all(frame(answer(message)))
    else
      load(JSON.parse(message))
    end
    nil
  rescue Exception => error
    fail_with(error)
  end

  # --- messages -----------------------------------------------------------------------------------------

  # Bytes of standard input; fewer at its end.  Nothing is read ahead: that would be in the image.
  def self.read_exactly(count)
    data = INPUT.sysread([count, READ_BYTES_MAX].min)
    data << INPUT.sysread([count - data.bytesize, READ_BYTES_MAX].min) while data.bytesize < count
    data
  rescue EOFError
    data || +""
  end

  # Nil at the end of input.
  def self.read_message
    head = read_exactly(LENGTH_BYTES)
    return if head.empty?

    length = head.unpack1("V")
    data = read_exactly(length) if length
    raise EOFError, "standard input ended in the middle of a message" if data.nil? || data.bytesize < length

    data
  end

  def self.frame(data) = [data.bytesize].pack("V") << data

  def self.write_all(data)
    begin
      data = data.byteslice(OUTPUT.syswrite(data)..)
    end until data.empty?
  end

  # --- the handler --------------------------------------------------------------------------------------

  def self.load(setup)
    @file = setup["file"]
    # Standard streams are for messages: what a handler prints goes to standard error.
    $stdin = StringIO.new
    $stdout = ERROR
    { STDIN: $stdin, STDOUT: $stdout }.each do |name, stream|
      Object.__send__(:remove_const, name)
      Object.const_set(name, stream)
    end
    $LOAD_PATH.unshift(*setup["path"])
    RubyVM::InstructionSequence.compile(setup["source"].delete_prefix("\u{feff}"), @file).eval
    raise NoMethodError, "it defines no method handle(request)" unless MAIN.respond_to?(:handle, true)

    @line = MAIN.method(:handle).source_location&.last
    settle
  end

  def self.answer(request, method = :handle)
    # What was drawn before the program was frozen would be drawn again in each request.
    srand
    encode(MAIN.__send__(method, decode(request)))
  end

  def self.decode(request)
    request.force_encoding(Encoding::UTF_8)
    raise EncodingError, "the request is not UTF-8" unless request.valid_encoding?

    request
  end

  def self.encode(result) = (result.is_a?(String) ? result : JSON.generate(result)).b

  # What is there now is where all requests start.  So that they write to few pages, garbage goes, what stays is
  # old, and what an answer takes is called once, as Ruby remembers what it looked up; all but handle(), and no
  # byte is written.
  def self.settle
    Process.warmup
    frame(answer(+"{}", :Array))
    JSON.parse("{}")
    write_all("")
  end

  # --- errors -------------------------------------------------------------------------------------------

  # Ends the program.
  def self.fail_with(error)
    ERROR.write(described(error) << last_line(error))
  ensure
    exit!(1)
  end

  # As Ruby tells it, with its causes, but without the frames of this file.  All in bytes: messages may be of
  # any encoding.
  def self.described(error)
    frames = frames_of(error)
    text = frames.empty? ? "".b : "#{frames[0]}: ".b
    text << detailed_message_of(error) << "\n"
    frames.drop(1).first(FRAMES_MAX).each { |frame| text << "\tfrom ".b << frame << "\n" }
    text << "\t ... #{frames.size - FRAMES_MAX} levels...\n" if frames.size > FRAMES_MAX
    error.cause ? text << described(error.cause) : text
  end

  def self.last_line(error)
    message = message_of(error)
    summary = message.lines.first.to_s.chomp
    frame = frames_of(error).find { |each| each.start_with?("#{@file}:".b) }
    line = frame ? frame.delete_prefix("#{@file}:".b).to_i : @line
    # Its first line has the place, and the next ones "    |   ^ what is wrong".
    if error.is_a?(SyntaxError) && summary.start_with?("#{@file}:".b)
      line, summary = summary.delete_prefix("#{@file}:".b).split(": ", 2)
      summary = message[/^ *\| +\^~* (.+)$/, 1] || summary
    end
    "#{[@file || "ruby", line].compact.join(":")}: #{error.class}: ".b << summary << "\n"
  end

  def self.frames_of(error)
    (error.backtrace || []).map(&:b).reject { |frame| frame.start_with?("#{__FILE__}:") }
  end

  # A handler's own classes of errors may fail here.
  def self.message_of(error)
    error.message.b
  rescue Exception
    "(it has no message)".b
  end

  def self.detailed_message_of(error)
    error.detailed_message(highlight: false).b
  rescue Exception
    message_of(error) << " (#{error.class})"
  end
end

SporeRunner.boot
SporeRunner
