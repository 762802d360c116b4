#pragma once

// What the acts of the demo share, and those of frozen programs.

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "spore/spore.h"

namespace spore::demo {

void say(const std::string& line);
std::string duration(double ns);
std::string quoted(const std::string& text);

// Of the table at the end.
struct Row {
  std::string what;
  std::string ours;
  std::string usual;
  std::string ratio;
  std::string command;
};

// CPython, rewritten, compiled and frozen with a handler on a thread of its own while other acts play.
class PythonInBackground {
 public:
  PythonInBackground();
  // Waits until it is there, and says so meanwhile.
  std::shared_ptr<const program::Program> wait();
  std::shared_ptr<Runtime> runtime() const { return runtime_; }

 private:
  std::shared_ptr<Runtime> runtime_;
  std::shared_ptr<const program::Program> program_;
  std::atomic<bool> ready_{false};
  std::jthread thread_;
};

// JavaScript, and Python: each request is answered by a clean copy of a program that was started once.
void act_two(std::vector<Row>& table);
void act_three(PythonInBackground& python, std::vector<Row>& table);
// Ruby, 16 MB that were never compiled here: it answers while its compilers run, and goes over to what they
// make.
void act_five(std::vector<Row>& table);

// A cell sleeps, is forked, and wakes in another process: in wake_elsewhere(), which the demo is started for
// once more.
void act_six(std::vector<Row>& table);
void act_seven(std::vector<Row>& table);
int wake_elsewhere(const std::string& folder);

}  // namespace spore::demo
