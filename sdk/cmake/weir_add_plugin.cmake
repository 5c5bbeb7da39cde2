# For authors of plugins: find_package(weir) brings this function.
set(WEIR_PLUGIN_EXPORT_MAP "${CMAKE_CURRENT_LIST_DIR}/weir_plugin.map")

# weir_add_plugin(<name> <sources>... [LIBRARIES <libraries>...] [NO_CHECK])
# Makes lib<name>.so, a plugin library that exports one symbol and has no undefined ones. Link other
# libraries statically. Unless NO_CHECK is given, the ctest test <name>.check runs weir-plugin-check.
function(weir_add_plugin name)
  cmake_parse_arguments(arg "NO_CHECK" "" "LIBRARIES" ${ARGN})
  add_library(${name} MODULE ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE weir::plugin_api ${arg_LIBRARIES})
  set_target_properties(${name} PROPERTIES PREFIX lib
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS "${WEIR_PLUGIN_EXPORT_MAP}")
  get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
  if(CXX IN_LIST languages)
    target_compile_features(${name} PRIVATE cxx_std_17)
  endif()
  if(C IN_LIST languages)
    target_compile_features(${name} PRIVATE c_std_11)
  endif()
  target_link_options(${name} PRIVATE "LINKER:-z,defs"
    "LINKER:--version-script=${WEIR_PLUGIN_EXPORT_MAP}")
  if(NOT arg_NO_CHECK AND TARGET weir::plugin-check)
    add_test(NAME ${name}.check COMMAND weir::plugin-check $<TARGET_FILE:${name}>)
  endif()
endfunction()
