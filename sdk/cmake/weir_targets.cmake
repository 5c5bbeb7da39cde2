# How targets are made here. A layer or room sees only the folders it names: its include path holds
# links to those and nothing else, so a wrong arrow is a compile error.

# weir_layer(<name> SOURCES ... [LAYERS ...] [LIBRARIES ...]): sdk/src/<name>, included as "<name>/x.h".
function(weir_layer name)
  cmake_parse_arguments(arg "" "" "SOURCES;LAYERS;LIBRARIES" ${ARGN})
  set(links "${CMAKE_BINARY_DIR}/layers/${name}")
  file(MAKE_DIRECTORY "${links}")
  file(CREATE_LINK "${PROJECT_SOURCE_DIR}/sdk/src/${name}" "${links}/${name}" SYMBOLIC)
  list(TRANSFORM arg_SOURCES PREPEND "${PROJECT_SOURCE_DIR}/sdk/src/${name}/")
  add_library(weir_layer_${name} OBJECT ${arg_SOURCES})
  target_include_directories(weir_layer_${name} PUBLIC
    "${links}" "${PROJECT_SOURCE_DIR}/sdk/include")
  foreach(layer IN LISTS arg_LAYERS)
    target_include_directories(weir_layer_${name} PUBLIC "${CMAKE_BINARY_DIR}/layers/${layer}")
  endforeach()
  target_link_libraries(weir_layer_${name} PUBLIC ${arg_LIBRARIES} PRIVATE weir_compile_options)
endfunction()

# weir_builtin(<kind>/<type-name> SOURCES ...): the built-in plugin of that YAML type. It sees public
# headers only; its params.schema.json is "params_schema.h" to it (kParamsSchema), and its WEIR_PLUGIN
# gets a symbol of its own that the generated list of built-ins names.
function(weir_builtin folder)
  cmake_parse_arguments(arg "" "" "SOURCES" ${ARGN})
  get_filename_component(type ${folder} NAME)
  string(REPLACE "-" "_" symbol ${type})
  set(schema_dir "${CMAKE_BINARY_DIR}/plugins/${folder}")
  set(schema_file "${PROJECT_SOURCE_DIR}/plugins/${folder}/params.schema.json")
  file(READ "${schema_file}" schema)
  file(CONFIGURE OUTPUT "${schema_dir}/params_schema.h" @ONLY CONTENT
    "#pragma once\n// static: each type has its own text under this name.\nstatic constexpr char kParamsSchema[] = R\"schema(@schema@)schema\";\n")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${schema_file}")
  list(TRANSFORM arg_SOURCES PREPEND "${PROJECT_SOURCE_DIR}/plugins/${folder}/")
  target_sources(weir_builtins PRIVATE ${arg_SOURCES})
  set_source_files_properties(${arg_SOURCES} PROPERTIES
    COMPILE_DEFINITIONS "WEIR_PLUGIN_SYMBOL=weir_builtin_${symbol}" INCLUDE_DIRECTORIES "${schema_dir}")
  set_property(GLOBAL APPEND PROPERTY WEIR_BUILTINS ${symbol})
endfunction()

# weir_configured(<kind>/<type-name> [ALPHA]): a YAML type that runs outside the engine; it is only a schema here.
function(weir_configured folder)
  cmake_parse_arguments(arg "ALPHA" "" "" ${ARGN})
  set(stability WEIR_STABILITY_BETA)
  if(arg_ALPHA)
    set(stability WEIR_STABILITY_ALPHA)
  endif()
  get_filename_component(type ${folder} NAME)
  get_filename_component(kind ${folder} DIRECTORY)
  set(schema_file "${PROJECT_SOURCE_DIR}/plugins/${folder}/params.schema.json")
  file(READ "${schema_file}" schema)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${schema_file}")
  set_property(GLOBAL APPEND_STRING PROPERTY WEIR_CONFIGURED
    "    {\"${kind}\", \"${type}\", ${stability}, R\"schema(${schema})schema\"},\n")
endfunction()

# weir_write_builtins(): writes the list of built-ins, after the last weir_builtin().
function(weir_write_builtins)
  get_property(symbols GLOBAL PROPERTY WEIR_BUILTINS)
  set(declarations "")
  set(entries "")
  foreach(symbol IN LISTS symbols)
    string(APPEND declarations "extern \"C\" const weir_module* weir_builtin_${symbol}();\n")
    string(APPEND entries "    weir_builtin_${symbol},\n")
  endforeach()
  get_property(configured GLOBAL PROPERTY WEIR_CONFIGURED)
  file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/plugins/builtins.cc" @ONLY CONTENT
"// Generated from the weir_builtin() and weir_configured() calls in plugins/CMakeLists.txt.
#include \"builtins.h\"

@declarations@
namespace weir::internal {
namespace {
constexpr weir_plugin_module_fn kBuiltins[] = {
@entries@};
}  // namespace
std::span<const weir_plugin_module_fn> Builtins() noexcept { return kBuiltins; }
std::span<const ConfiguredType> ConfiguredTypes() noexcept {
  static constexpr ConfiguredType kConfigured[] = {
@configured@  };
  return kConfigured;
}
}  // namespace weir::internal
")
  target_sources(weir_builtins PRIVATE "${CMAKE_BINARY_DIR}/plugins/builtins.cc")
endfunction()

# weir_app(<folder> <executable> SOURCES ... [LIBRARIES ...])
function(weir_app folder executable)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES" ${ARGN})
  list(TRANSFORM arg_SOURCES PREPEND "${PROJECT_SOURCE_DIR}/apps/${folder}/")
  add_executable(${executable} ${arg_SOURCES})
  target_link_libraries(${executable} PRIVATE ${arg_LIBRARIES} weir_compile_options)
  install(TARGETS ${executable} RUNTIME DESTINATION bin)
endfunction()

# weir_test(<name> SOURCES ... [LIBRARIES ...] [LABELS ...]): one GoogleTest program; each case is a ctest test.
function(weir_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} GTest::gmock GTest::gtest_main weir_compile_options)
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests/unit")  # "testing/x.h"
  target_compile_definitions(${name} PRIVATE WEIR_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    WEIR_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS "${arg_LABELS};unit" TIMEOUT 120)
endfunction()

# weir_fuzz(<name> SOURCES ... [LIBRARIES ...]): a libFuzzer target; its seeds lie in tests/fuzz/corpus/<name>.
function(weir_fuzz name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} weir_compile_options)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  add_test(NAME fuzz.${name} COMMAND ${name} -runs=20000 -max_total_time=60
    "${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name}")
endfunction()

# weir_bench(<name> SOURCES ... [LIBRARIES ...]): a Google Benchmark program.
function(weir_bench name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} benchmark::benchmark_main weir_compile_options)
endfunction()
