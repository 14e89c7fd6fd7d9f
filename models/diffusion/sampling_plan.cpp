#include "models/diffusion/sampling_plan.h"

#include "models/diffusion/solvers/solvers.h"

namespace imago {

SamplingPlan make_plan(const SchedulerConfig& config, int num_inference_steps,
                       const SamplerOptions& options) {
  using enum SchedulerConfig::Kind;
  check_steps(config, num_inference_steps, options.begin);
  switch (config.kind) {
    case kDdpm: return ddpm_plan(config, num_inference_steps, options);
    case kDdim: return ddim_plan(config, num_inference_steps, options);
    case kDpmSolver: return dpm_solver_plan(config, num_inference_steps, options);
    case kUniPc: return unipc_plan(config, num_inference_steps, options);
    case kEuler: return euler_plan(config, num_inference_steps, options);
    case kEulerAncestral: return euler_ancestral_plan(config, num_inference_steps, options);
    case kHeun: return heun_plan(config, num_inference_steps, options);
    case kEdmEuler: return edm_euler_plan(config, num_inference_steps, options);
    case kFlowEuler: return flow_euler_plan(config, num_inference_steps, options);
    case kFlowHeun: return flow_heun_plan(config, num_inference_steps, options);
  }
  failure("a scheduler of unknown kind");
}

}  // namespace imago
