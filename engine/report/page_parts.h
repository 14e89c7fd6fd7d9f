// The parts of report.html that do not depend on the run.
#pragma once

namespace imago {

extern const char* const kReportStyle;   // CSS
extern const char* const kReportScript;  // JavaScript: a slider for the samples, values under the pointer
extern const char* const kReportIcon;    // an SVG as a data URI

}  // namespace imago
