#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "spore/spore.h"
#include "tests/spec/outcome.h"
#include "tests/spec/peak_plan.h"
#include "tests/spec/script.h"
#include "tests/spec/skip_list.h"
#include "tests/spec/spec_host.h"
#include "tests/spec/values.h"

namespace spore::spec {

// Runs the directives of one script in order, all of its instances of one tier in one store.  A directive
// that needs a module that was skipped is skipped for the same reason.
class ScriptRunner {
 public:
  // `file` is GROUP/FILE.  What is referred to must outlive the runner.
  ScriptRunner(const SpecHost& host, const Script& script, SkipList& skips, std::string file);

  Outcome run(const Directive& directive);

  const PeakCounts& peak_counts() const { return plan_.counts(); }

 private:
  // What a directive needs or makes; or, if it is not to be had, the outcome that this leads to.
  template <typename T>
  struct Made {
    T value{};
    Outcome outcome;
    bool ok() const { return outcome.ok(); }
  };
  using MadeModule = Made<std::shared_ptr<const Module>>;
  using MadeInstance = Made<const Instance*>;
  // What calling or instantiating came to: for an assertion a failure may be the right answer.
  struct Answer {
    Status status;
    std::vector<TypedValue> results;
    const Instance* instance = nullptr;
  };

  Outcome execute(const Directive& directive);
  Outcome define(const Directive& directive);
  Outcome instantiate(const Directive& directive, const MadeModule& module);
  Outcome offer(const Directive& directive);
  Outcome assert_return(const Directive& directive);
  Outcome assert_global(const Directive& directive);
  Outcome assert_refused(const Directive& directive) const;
  Outcome assert_unlinkable(const Directive& directive);

  MadeModule load(const Directive& directive) const;
  MadeModule definition(const std::string& name) const;
  MadeInstance instance(const std::string& name) const;
  Made<Answer> link(const MadeModule& module);
  Made<Answer> call(const Directive& directive) const;
  void remember_missing(const Directive& directive, const Outcome& outcome);

  const SpecHost& host_;
  const Script& script_;
  SkipList& skips_;
  std::string file_;
  PeakPlan plan_;
  std::deque<Instance> instances_;       // only ever grows, so pointers stay good
  std::map<Tier, Instance*> spectests_;  // those of each tier are linked to the tier's own
  MadeInstance current_;
  std::map<std::string, MadeInstance> named_;
  std::map<std::string, MadeInstance> registered_;
  std::map<std::string, MadeModule> definitions_;  // under "" the latest
};

}  // namespace spore::spec
