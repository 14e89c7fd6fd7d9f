# cmake --install: the libraries with their headers, and what find_package(imago) reads. Programs install themselves.
include(CMakePackageConfigHelpers)

set(libraries imago_flags imago_kernels imago_engine imago_models)
set(IMAGO_WITH_CUDA OFF)
if(TARGET imago_cuda)
  set(IMAGO_WITH_CUDA ON)
  list(APPEND libraries imago_cuda)
endif()
foreach(library ${libraries})
  string(REPLACE "imago_" "" name ${library})
  set_target_properties(${library} PROPERTIES EXPORT_NAME ${name})
  add_library(imago::${name} ALIAS ${library})
endforeach()
install(TARGETS ${libraries} EXPORT imagoTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})

# What may be included: the contract of floor 0, and floors 1 and 2.
install(DIRECTORY kernels DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/imago FILES_MATCHING PATTERN "*.h"
        PATTERN "cpu" EXCLUDE PATTERN "cuda" EXCLUDE PATTERN "reference" EXCLUDE)
install(DIRECTORY engine models DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/imago FILES_MATCHING PATTERN "*.h")

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/imago)
configure_package_config_file(cmake/imagoConfig.cmake.in ${CMAKE_BINARY_DIR}/imagoConfig.cmake
                              INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/imagoConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/imagoConfig.cmake ${CMAKE_BINARY_DIR}/imagoConfigVersion.cmake cmake/dependencies.cmake
        DESTINATION ${package_folder})
install(EXPORT imagoTargets NAMESPACE imago:: DESTINATION ${package_folder})
