#include "apps/common/warner.h"

#include "apps/common/run_app.h"

namespace imago {

void Warner::operator()(const std::string& message) {
  const std::lock_guard lock(mutex_);
  if (progress_)
    progress_->message(program_ + ": warning: " + message);
  else
    warn_user(program_, message);
}

void Warner::attach(Progress* progress) {
  const std::lock_guard lock(mutex_);
  progress_ = progress;
}

}  // namespace imago
