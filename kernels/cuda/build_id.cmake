# cmake -DFOLDER=kernels/cuda -DHEADER=build_id.h -P build_id.cmake: one name for the content of all kernels.
file(GLOB_RECURSE files ${FOLDER}/*.cu ${FOLDER}/*.cpp ${FOLDER}/*.h)
set(all "")
foreach(file ${files})
  file(SHA256 ${file} content)
  string(APPEND all ${content})
endforeach()
string(SHA256 id "${all}")
string(SUBSTRING ${id} 0 12 id)
file(WRITE ${HEADER} "// Changes when any kernel does. Written by build_id.cmake.
#pragma once
namespace imago {
inline constexpr const char* kBuildId = \"${id}\";
}
")
