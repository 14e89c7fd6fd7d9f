// Streams, events and graphs.
#include "lab/cuda_on_cpu/stream.h"

#include <algorithm>

#include "lab/cuda_on_cpu/settings.h"

namespace imago::cuda_on_cpu {
namespace emu {

Runtime& Runtime::get() {
  static Runtime* r = new Runtime;  // outlives every other static object
  return *r;
}

cudaError_t Runtime::enqueue(Stream& s, std::function<void()> work, const cudaKernelNodeParams* kernel) {
  if (s.capture) {
    Graph& g = *s.capture;
    g.nodes.push_back({std::move(work), s.last_nodes, kernel ? std::optional(*kernel) : std::nullopt});
    s.last_nodes = {g.nodes.size() - 1};
    s.joined = &s == g.origin;
    return cudaSuccess;
  }
  Work w{std::move(work), std::move(s.waits_for)};
  s.waits_for.clear();
  if (&s == &default_stream) {  // after everything before it in blocking streams, and they after it
    for (Stream* other : streams)
      if (other != &s && other->blocking) {
        if (other->capture) return cudaErrorStreamCaptureUnsupported;
        w.after.push_back({other, other->issued});
      }
  } else if (s.blocking) {
    w.after.push_back({&default_stream, default_stream.issued});
  }
  s.queue.push_back(std::move(w));
  ++s.issued;
  if (Settings::get().eager) run_until(s, s.issued);
  return cudaSuccess;
}

// Dependencies point back in time, so the recursion ends.
void Runtime::run_until(Stream& s, uint64_t ticket) {
  while (s.done < ticket) {
    Work w = std::move(s.queue.front());
    for (const Dependency& d : w.after)
      if (streams.count(d.stream)) run_until(*d.stream, d.ticket);
    if (s.done >= ticket) return;
    s.queue.pop_front();
    w.run();
    ++s.done;
  }
}

void Runtime::run_all() {
  for (Stream* s : streams) run_until(*s, s->issued);
}

}  // namespace emu

using namespace emu;

// ---- streams ----
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  *stream = new Stream;
  (*stream)->blocking = !(flags & cudaStreamNonBlocking);
  r.streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0, *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (!stream || !r.streams.count(stream)) return remember(cudaErrorInvalidResourceHandle);
  r.run_until(*stream, stream->issued);
  r.streams.erase(stream);
  for (Event* e : r.events)
    if (e->point.stream == stream) e->point = {nullptr, 0};
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  Stream& s = r.resolve(stream);
  if (s.capture || (!stream && r.captures)) return remember(cudaErrorStreamCaptureUnsupported);
  for (const Dependency& d : s.waits_for)
    if (r.streams.count(d.stream)) r.run_until(*d.stream, d.ticket);
  r.run_until(s, s.issued);
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {  // "not ready" once, if there was anything to wait for
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  Stream& s = r.resolve(stream);
  if (s.capture) return remember(cudaErrorStreamCaptureUnsupported);
  if (s.done == s.issued) return cudaSuccess;
  r.run_until(s, s.issued);
  return cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize() {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (r.captures) return remember(cudaErrorStreamCaptureUnsupported);
  r.run_all();
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, void (*function)(void*), void* data) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  return remember(r.enqueue(r.resolve(stream), [=] { function(data); }));
}

// ---- events ----
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  *event = new Event;
  r.events.insert(*event);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (!r.events.erase(event)) return remember(cudaErrorInvalidResourceHandle);
  if (event->point.stream)
    r.run_until(*event->point.stream, event->point.ticket);  // its time stamp is still to be taken
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  Stream& s = r.resolve(stream);
  event->capture = s.capture;
  if (s.capture) {
    event->nodes = s.last_nodes;
    event->covers = {&s};
    return cudaSuccess;
  }
  const cudaError_t e = r.enqueue(s, [event] { event->time = std::chrono::steady_clock::now(); });
  event->point = {&s, s.issued};
  return remember(e);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  Stream& s = r.resolve(stream);
  if (!event->capture) {
    if (s.capture)
      return remember(
          cudaErrorStreamCaptureUnsupported);  // work from outside cannot be waited for in a graph
    if (event->point.stream) s.waits_for.push_back(event->point);
    return cudaSuccess;
  }
  if (!s.capture) {  // the stream joins the capture
    s.capture = event->capture;
    s.last_nodes.clear();
    s.capture->streams.insert(&s);
    s.joined = false;
  } else if (s.capture != event->capture) {
    return remember(cudaErrorStreamCaptureUnsupported);
  }
  for (size_t n : event->nodes)
    if (std::find(s.last_nodes.begin(), s.last_nodes.end(), n) == s.last_nodes.end())
      s.last_nodes.push_back(n);
  for (Stream* covered : event->covers)
    if (r.streams.count(covered) && covered != &s && covered->last_nodes == event->nodes)
      covered->joined = true;
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (event->capture) return remember(cudaErrorStreamCaptureUnsupported);
  if (event->point.stream) r.run_until(*event->point.stream, event->point.ticket);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (event->capture) return remember(cudaErrorStreamCaptureUnsupported);
  if (!event->point.stream || event->point.stream->done >= event->point.ticket) return cudaSuccess;
  r.run_until(*event->point.stream, event->point.ticket);
  return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  for (cudaEvent_t e : {start, stop})
    if (e->point.stream && e->point.stream->done < e->point.ticket) return remember(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(stop->time - start->time).count();
  return cudaSuccess;
}

}  // namespace imago::cuda_on_cpu
