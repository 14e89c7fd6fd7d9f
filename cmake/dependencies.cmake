# What the libraries stand on. Read by the build, and by find_package(imago) in the project that uses them; found there
# anew, so that an installed tree names no folder of the machine that built it. IMAGO_ONEDNN and IMAGO_WITH_CUDA are set.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(ZLIB REQUIRED)
find_package(nlohmann_json REQUIRED)

# Compression of Parquet pages, and WebP images.
if(NOT TARGET imago::codecs)
  add_library(imago::codecs INTERFACE IMPORTED GLOBAL)
  foreach(codec IN ITEMS "snappy snappy-c.h" "zstd zstd.h" "lz4 lz4.h" "webp webp/decode.h")
    separate_arguments(codec)
    list(GET codec 0 library)
    list(GET codec 1 header)
    find_path(IMAGO_${library}_INCLUDE ${header} REQUIRED)
    find_library(IMAGO_${library}_LIBRARY ${library} REQUIRED)
    mark_as_advanced(IMAGO_${library}_INCLUDE IMAGO_${library}_LIBRARY)
    target_include_directories(imago::codecs INTERFACE ${IMAGO_${library}_INCLUDE})
    target_link_libraries(imago::codecs INTERFACE ${IMAGO_${library}_LIBRARY})
  endforeach()
endif()

# PNG and JPEG: libspng and libjpeg-turbo where they are at hand, otherwise stb.
foreach(decoder IN ITEMS "spng spng.h" "turbojpeg turbojpeg.h")
  separate_arguments(decoder)
  list(GET decoder 0 library)
  list(GET decoder 1 header)
  find_path(IMAGO_${library}_INCLUDE ${header})
  find_library(IMAGO_${library}_LIBRARY ${library})
  mark_as_advanced(IMAGO_${library}_INCLUDE IMAGO_${library}_LIBRARY)
  if(NOT TARGET imago::${library} AND IMAGO_${library}_INCLUDE AND IMAGO_${library}_LIBRARY)
    add_library(imago::${library} INTERFACE IMPORTED GLOBAL)
    target_include_directories(imago::${library} INTERFACE ${IMAGO_${library}_INCLUDE})
    target_link_libraries(imago::${library} INTERFACE ${IMAGO_${library}_LIBRARY})
  endif()
endforeach()

# Debian's own CMake config for oneDNN asks for OpenCL, which we do not use.
if(IMAGO_ONEDNN AND NOT TARGET imago::onednn)
  find_path(IMAGO_ONEDNN_INCLUDE dnnl.hpp REQUIRED)
  find_library(IMAGO_ONEDNN_LIBRARY dnnl REQUIRED)
  mark_as_advanced(IMAGO_ONEDNN_INCLUDE IMAGO_ONEDNN_LIBRARY)
  add_library(imago::onednn INTERFACE IMPORTED GLOBAL)
  target_include_directories(imago::onednn INTERFACE ${IMAGO_ONEDNN_INCLUDE})
  target_link_libraries(imago::onednn INTERFACE ${IMAGO_ONEDNN_LIBRARY})
endif()

# The static CUDA runtime: programs start on machines without a driver.
if(IMAGO_WITH_CUDA AND NOT TARGET imago::cudart)
  find_library(IMAGO_CUDART cudart_static HINTS ${IMAGO_CUDA_ROOT} $ENV{CUDA_HOME} $ENV{CUDA_PATH} /usr/local/cuda
               PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib REQUIRED)
  mark_as_advanced(IMAGO_CUDART)
  add_library(imago::cudart INTERFACE IMPORTED GLOBAL)
  target_link_libraries(imago::cudart INTERFACE ${IMAGO_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)
endif()
