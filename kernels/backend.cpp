// What a backend that computes on the host need not say: its bytes have arrived when an operation returns.
#include "kernels/backend.h"

#include <vector>

#include "kernels/error.h"

namespace imago {

namespace {

class ArrivedDownload final : public Download {
 public:
  explicit ArrivedDownload(size_t bytes) : bytes_(bytes) {}
  bool arrived() override { return true; }
  const void* wait() override { return bytes_.data(); }
  void* data() { return bytes_.data(); }

 private:
  std::vector<unsigned char> bytes_;
};

}  // namespace

std::unique_ptr<Download> Backend::download_later(const void* device, size_t bytes) {
  auto arrived = std::make_unique<ArrivedDownload>(bytes);
  download(arrived->data(), device, bytes);
  return arrived;
}

std::unique_ptr<Graph> Backend::record_graph(const std::function<void()>&) {
  failure(name(), " cannot record operations");
}

}  // namespace imago
