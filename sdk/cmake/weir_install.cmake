# cmake --install: headers, libraries, programs (weir_app) and the CMake package.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(weir_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/weir")

install(DIRECTORY "${PROJECT_SOURCE_DIR}/sdk/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING PATTERN "*.h")
foreach(room io sim)
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/sdk/${room}/"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/weir/${room}" FILES_MATCHING PATTERN "*.h")
endforeach()

# A set of its own for plugins, which need headers only and no package of a dependency.
install(TARGETS weir_plugin_api EXPORT weirPluginTargets)
install(EXPORT weirPluginTargets NAMESPACE weir:: DESTINATION "${weir_package_dir}")
# Another for the C API: who links its library builds without the packages of its dependencies. It
# loads them when it runs; tests/abi/c_api_libraries.txt lists them.
install(TARGETS weir_c EXPORT weirCTargets LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT weirCTargets NAMESPACE weir:: DESTINATION "${weir_package_dir}")
install(TARGETS weir weir_io weir_sim EXPORT weirTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT weirTargets NAMESPACE weir:: DESTINATION "${weir_package_dir}")

configure_package_config_file("${PROJECT_SOURCE_DIR}/sdk/cmake/weirConfig.cmake.in"
  "${CMAKE_BINARY_DIR}/weirConfig.cmake" INSTALL_DESTINATION "${weir_package_dir}")
write_basic_package_version_file("${CMAKE_BINARY_DIR}/weirConfigVersion.cmake"
  COMPATIBILITY SameMajorVersion)
install(FILES
  "${CMAKE_BINARY_DIR}/weirConfig.cmake"
  "${CMAKE_BINARY_DIR}/weirConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/sdk/cmake/weir_add_plugin.cmake"
  "${PROJECT_SOURCE_DIR}/sdk/cmake/weir_plugin.map"
  DESTINATION "${weir_package_dir}")
